/** What the system says is wrong, as `ENOENT`; empty for an error that is not the system's. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? ''
}
