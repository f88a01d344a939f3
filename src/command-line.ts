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

/** Where output goes: results can be piped on, and notes are seen all the same. */
export const output: Output = {
  result: (text) => process.stdout.write(text),
  note: (text) => process.stderr.write(text),
}

/** Ends the process soon, if something that is of no use any more keeps it up. */
export function endSoon(): void {
  setTimeout(() => process.exit(), 1000).unref()
}
