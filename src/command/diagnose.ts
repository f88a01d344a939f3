import { endSoon } from '../command-line.ts'
import { ConfigError, loadConfig, readDotEnv } from '../config.ts'
import { doctor } from '../doctor.ts'

/** `layover doctor`: says what is wrong with a server and its surroundings. Resolves with the exit code. */
export async function diagnose(): Promise<number> {
  const print = (line: string) => process.stdout.write(`${line}\n`)
  readDotEnv()
  try {
    const config = loadConfig()
    print('✓ configuration: can be used')
    const { LAYOVER_KEY: key } = process.env
    const isWell = await doctor({ config, key: key || undefined, print })
    return isWell ? 0 : 1
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    print(
      `✗ configuration: ${error.message
        .split('\n')
        .slice(1)
        .map((line) => line.trim())
        .join('; ')}`,
    )
    return 1
  } finally {
    // What goes on after its time is of no use any more.
    endSoon()
  }
}
