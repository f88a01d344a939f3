import fc from 'fast-check'
import { expect } from 'vitest'
import type { Reservation, Usage } from '../../src/usage/usage.ts'

/** One upload, as a model that forgets nothing keeps it. */
interface Upload {
  readonly reservation: Reservation
  readonly at: number
  readonly expires: number
  state: 'reserved' | 'used' | 'released'
}

const WINDOW = 600
/** ms; a 288th of the window. */
const SLOT = 2084
const HOLD = 120
const LIMIT = 1000

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ act: fc.constant('reserve' as const), bytes: fc.integer({ min: 0, max: 400 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ act: fc.constantFrom('settle' as const, 'release' as const), which: fc.nat() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ act: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 900_000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ act: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 5000 }) }),
  },
)

/** Plays random sequences on a usage and on a list of all uploads, and compares each answer. Each has a key of its own. */
export async function usageModel(usage: Usage, start: number): Promise<void> {
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      run += 1
      const key = `run ${run}`
      const uploads: Upload[] = []
      let now = start

      /** Bytes that count if each use lasts for `lifetime` ms from its time. */
      const total = (state: Upload['state'], counts: (upload: Upload) => boolean) =>
        uploads
          .filter((upload) => upload.state === state && counts(upload))
          .reduce((sum, { reservation }) => sum + reservation.bytes, 0)
      const slotCounts = ({ at }: Upload) => Math.floor(at / SLOT) * SLOT + SLOT + WINDOW * 1000 > now
      const reallyCounts = ({ at }: Upload) => at + WINDOW * 1000 > now
      const isHeld = ({ expires }: Upload) => expires > now

      for (const next of steps) {
        if (next.act === 'wait') now += next.ms
        else if (next.act === 'reserve') {
          const { bytes } = next
          const counted = total('used', slotCounts) + total('reserved', isHeld)
          const answer = await usage.reserve({ key, bytes, limit: LIMIT, window: WINDOW, hold: HOLD, now })
          expect(answer.granted).toBe(counted + bytes <= LIMIT)
          if (answer.granted) {
            uploads.push({ reservation: answer, at: now, expires: now + HOLD * 1000, state: 'reserved' })
            expect(total('used', reallyCounts) + total('reserved', isHeld)).toBeLessThanOrEqual(LIMIT)
          }
        } else {
          const upload = uploads[next.which % Math.max(1, uploads.length)]
          if (upload === undefined) continue
          await usage[next.act](upload.reservation)
          if (upload.state === 'reserved') upload.state = next.act === 'settle' ? 'used' : 'released'
        }
        const { used, reserved } = await usage.read({ key, window: WINDOW, now })
        expect({ used, reserved }).toEqual({
          used: total('used', slotCounts),
          reserved: total('reserved', isHeld),
        })
      }
    }),
    { seed: 20270101, numRuns: 150 },
  )
}
