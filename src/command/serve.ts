import { fileURLToPath } from 'node:url'

/** The runtime's options for a server, as in package.json. */
export const SERVER_OPTIONS = ['--max-semi-space-size=8']

/**
 * `layover serve`: becomes what `npm start` starts, under the same process id, so that signals reach it, and nothing of the command stays in
 * memory.
 */
export async function serve(): Promise<void> {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  // Not on Windows.
  process.execve?.(process.execPath, [process.execPath, ...SERVER_OPTIONS, main], process.env)
  await import('../main.ts')
}
