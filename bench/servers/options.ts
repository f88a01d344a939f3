/** What a baseline server is told, as JSON in its first argument. All folders are on one file system and not its own to remove. */
export interface ServerSettings {
  /** Where uploads end up. */
  readonly uploads: string
  /** Where they are until then. */
  readonly temp: string
  /** Images to serve. */
  readonly files: string
  readonly key: string
  /** Whether an upload is answered only when its bytes and its name are on the disk, as Layover's are. */
  readonly sync: boolean
}

export function optionsOf(argument: string | undefined): ServerSettings {
  return JSON.parse(argument ?? '') as ServerSettings
}

/** Says where the server listens. Its only output. */
export function tell(url: string): void {
  process.stdout.write(`${url}\n`)
}
