/** What a start has to know before anything else is loaded; so it needs nothing else itself. */

/** Takes variables from `.env`, if there is one, for what the environment itself does not set. */
export function readDotEnv(): void {
  try {
    process.loadEnvFile()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

export const DEFAULT_DATA_DIR = './data'

/** The data folder, as the configuration will have it. */
export function dataDirIn(environment: Readonly<Record<string, string | undefined>>): string {
  return environment.DATA_DIR || DEFAULT_DATA_DIR
}
