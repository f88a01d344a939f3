import { lastingIn, received, type Samples, sumOf } from '../metrics/merge.ts'
import { send, type Worker } from './crew.ts'

/** Milliseconds for which a worker's metrics are waited for. */
const PATIENCE = 2000

/**
 * The metrics of all workers. A worker that does not answer in time is told of as it was when it last did. What those have counted that
 * are gone stays counted: a sum that falls would look like a restart of them all.
 */
export interface Reports {
  join(worker: Worker): void
  /** What a worker answered to the question of this number. */
  take(worker: Worker, answer: { question: number; samples: Samples }): void
  leave(worker: Worker): void
  /** What those who are there have measured up to now, and what those before them have counted. */
  collect(): Promise<Samples[]>
}

/** What is known of a worker. */
interface Report {
  samples: Samples
  /** The last question, and what to do when it is answered. */
  question: number
  done: () => void
}

export function openReports(): Reports {
  const present = new Map<Worker, Report>()
  let [left, questions]: [Samples, number] = [[], 0]
  let asking: Promise<unknown> | undefined

  async function ask(worker: Worker, report: Report): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, PATIENCE)
    questions += 1
    Object.assign(report, { question: questions, done: resolve })
    send(worker, { type: 'metrics', question: questions })
    await promise
    clearTimeout(timer)
  }

  return {
    join: (worker) => void present.set(worker, { samples: [], question: 0, done: () => {} }),

    take(worker, { question, samples }) {
      const report = present.get(worker)
      if (report === undefined) return
      report.samples = received(samples)
      if (report.question === question) report.done()
    },

    leave(worker) {
      const report = present.get(worker)
      if (report === undefined) return
      present.delete(worker)
      left = sumOf(left, lastingIn(report.samples))
      report.done()
    },

    async collect() {
      // Those who come meanwhile share it.
      asking ??= Promise.all([...present].map(([worker, report]) => ask(worker, report))).finally(() => {
        asking = undefined
      })
      await asking
      return [left, ...[...present.values()].map(({ samples }) => samples)]
    },
  }
}
