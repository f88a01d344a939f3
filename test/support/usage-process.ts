import { openSqliteUsage } from '../../src/usage/sqlite.ts'

/** A process beside the tests': opens the usage at a path, and for each message makes the reservations it asks for. */

/** `at`: Unix ms at which to begin, so that two processes do so together. Each round is a key of its own. */
export interface Order {
  readonly at: number
  readonly rounds: number
  readonly calls: number
  readonly bytes: number
  readonly limit: number
  readonly now: number
}

const usage = await openSqliteUsage({ path: process.argv[2] ?? '' })

process.on('message', async ({ at, rounds, calls, ...request }: Order) => {
  while (Date.now() < at);
  const granted: number[] = []
  for (let round = 0; round < rounds; round++) {
    const reserve = () => usage.reserve({ ...request, key: `round ${round}`, window: 3600, hold: 60 })
    const answers = await Promise.all(Array.from({ length: calls }, reserve))
    granted.push(answers.filter((answer) => answer.granted).length)
  }
  process.send?.(granted)
})
process.send?.('ready')
