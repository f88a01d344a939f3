/** What `layover` can be told. */
export const SYNOPSIS = `Usage:
  layover keys create --name <name> [--expires 90d] [--quota 200MB] [--rate 100/1m] [--max-lifetime 24h]
  layover keys list [--json]
  layover keys revoke <name, last four characters, or beginning of the id>
  layover doctor
A value that begins with "-" goes after "=" or "--": --name=-x, revoke -- -x1Y.
`

/** The command was not understood; `message` says why. */
export class CommandLineError extends Error {
  override name = 'CommandLineError'
}

export interface Output {
  /** For other programs: a new key, or a list. */
  readonly result: (text: string) => void
  /** For whoever looks on. */
  readonly note: (text: string) => void
}
