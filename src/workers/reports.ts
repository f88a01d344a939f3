import type { Worker } from 'node:cluster'
import { lastingIn, received, type Samples, sumOf } from '../metrics/merge.ts'

/** Milliseconds for which a worker's metrics are waited for. */
const PATIENCE = 2000

export interface ReportsOptions {
  readonly present: () => Worker[]
  readonly ask: (worker: Worker, question: number) => void
}

/**
 * The metrics of all workers. A worker that does not answer in time is told of as it was when it last did. What those have counted that
 * are gone stays counted: a sum that falls would look like a restart of them all.
 */
export function reports({ present, ask }: ReportsOptions) {
  const last = new Map<Worker, Samples>()
  const waiting = new Map<Worker, { question: number; done: () => void }>()
  let [left, questions]: [Samples, number] = [[], 0]

  function question(worker: Worker): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, PATIENCE)
    questions += 1
    waiting.set(worker, { question: questions, done: resolve })
    ask(worker, questions)
    return promise.finally(() => clearTimeout(timer))
  }

  return {
    /** What each has counted up to now, and those before them. */
    async collect(): Promise<Samples[]> {
      await Promise.all(present().map(question))
      return [left, ...last.values()]
    },

    take(worker: Worker, { question, samples }: { question: number; samples: Samples }): void {
      last.set(worker, received(samples))
      const asked = waiting.get(worker)
      if (asked?.question === question) asked.done()
    },

    leave(worker: Worker): void {
      const samples = last.get(worker)
      if (samples) left = sumOf(left, lastingIn(samples))
      last.delete(worker)
      waiting.get(worker)?.done()
      waiting.delete(worker)
    },
  }
}
