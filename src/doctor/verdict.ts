/** What a check found: that all is well, what is wrong and what to do about it, or why nothing could be found. */
export interface Verdict {
  readonly mark: '✓' | '✗' | '–'
  readonly text: string
}

export const good = (text: string): Verdict => ({ mark: '✓', text })
export const bad = (text: string): Verdict => ({ mark: '✗', text })
export const skipped = (text: string): Verdict => ({ mark: '–', text })

/** A check that found something wrong; `message` says what, and what to do. */
export class Finding extends Error {
  override name = 'Finding'
}

/** A failure's message, or of what the system says only the code, as its text may hold what nobody needs to see. */
export function reasonOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return code ?? message
}

/**
 * What the work finds, within a time in milliseconds. Never rejects: a failure, and too long a silence, are findings too. The work goes
 * on by itself after its time.
 */
export async function verdictOf(limit: number, work: () => Promise<Verdict>): Promise<Verdict> {
  const { promise, resolve } = Promise.withResolvers<Verdict>()
  const timer = setTimeout(() => resolve(bad(`is not done after ${limit / 1000} seconds`)), limit)
  try {
    return await Promise.race([work(), promise])
  } catch (error) {
    return bad(error instanceof Finding ? error.message : reasonOf(error))
  } finally {
    clearTimeout(timer)
  }
}
