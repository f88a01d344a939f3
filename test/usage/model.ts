import fc from 'fast-check'
import { expect } from 'vitest'
import type { Reservation, Usage } from '../../src/usage/usage.ts'

/** One upload, as a model that forgets nothing keeps it. */
interface Upload {
  readonly reservation: Reservation
  readonly at: number
  /** The end of its hold, rounded up. */
  readonly expires: number
  /** The end of its slot. */
  readonly ends: number
  state: 'reserved' | 'used' | 'released'
  /**
   * Whether its hold was over, or its slot's window had passed, when something was reserved: it
   * stays so if the clock jumps back.
   */
  isOver: boolean
}

const WINDOW = 600
/** ms; a 288th of the window. */
const SLOT = 2084
const HOLD = 120
/** ms; a 60th of the hold. */
const BUCKET = 2000
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
  {
    weight: 1,
    arbitrary: fc.record({ act: fc.constant('wait' as const), ms: fc.integer({ min: -150_000, max: 0 }) }),
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
      let [now, latest] = [start, start]

      const total = (state: Upload['state'], counts: (upload: Upload) => boolean) =>
        uploads
          .filter((upload) => upload.state === state && !upload.isOver && counts(upload))
          .reduce((sum, { reservation }) => sum + reservation.bytes, 0)
      const slotCounts = ({ ends }: Upload) => ends + WINDOW * 1000 > now
      const reallyCounts = ({ at }: Upload) => at + WINDOW * 1000 > now
      const isHeld = ({ expires }: Upload) => expires > now

      for (const next of steps) {
        if (next.act === 'wait') now += next.ms
        else if (next.act === 'reserve') {
          const { bytes } = next
          latest = Math.max(latest, now)
          for (const upload of uploads)
            upload.isOver ||= upload.state === 'reserved' ? !isHeld(upload) : !slotCounts(upload)
          const counted = total('used', slotCounts) + total('reserved', isHeld)
          const answer = await usage.reserve({ key, bytes, limit: LIMIT, window: WINDOW, hold: HOLD, now })
          expect(answer.granted).toBe(counted + bytes <= LIMIT)
          if (answer.granted) {
            const expires = Math.ceil((now + HOLD * 1000) / BUCKET) * BUCKET
            const ends = Math.floor(now / SLOT) * SLOT + SLOT
            uploads.push({ reservation: answer, at: now, expires, ends, state: 'reserved', isOver: false })
            expect(total('used', reallyCounts) + total('reserved', isHeld)).toBeLessThanOrEqual(LIMIT)
          } else
            expect(answer).toMatchObject({
              used: total('used', slotCounts),
              reserved: total('reserved', isHeld),
            })
        } else {
          const upload = uploads[next.which % Math.max(1, uploads.length)]
          if (upload === undefined) continue
          // Whether one that is of no more use is forgotten already is nobody's promise.
          if (upload.state === 'reserved' && Math.max(upload.expires, upload.ends + WINDOW * 1000) <= latest)
            continue
          await usage[next.act](upload.reservation)
          if (upload.state !== 'reserved') continue
          upload.state = next.act === 'settle' ? 'used' : 'released'
          upload.isOver = false
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
