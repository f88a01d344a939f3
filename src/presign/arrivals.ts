import { Problem, problem } from '../errors.ts'
import { FORMATS } from '../formats.ts'
import { type ImageName, parseName } from '../name.ts'
import { publishAs } from '../publish.ts'
import { type Staged, type StageOptions, stage } from '../stage.ts'
import { ObjectExists, ObjectNotFound, type Store } from '../store/store.ts'
import type { Usage } from '../usage/usage.ts'
import { exists, type Marks } from './marks.ts'
import type { Ticket } from './ticket.ts'

export interface ArrivalOptions {
  /** Where images are. */
  readonly store: Store
  /** Where what is sent arrives. */
  readonly incoming: Store
  readonly marks: Marks
  readonly usage: Usage
  readonly staging: StageOptions
}

/** What was sent for a name, and what was agreed on. */
export interface Arrival {
  readonly name: ImageName
  readonly ticket: Ticket
  readonly signal?: AbortSignal
}

/**
 * Puts an image under the name that was given out for it. Rejects with `upload_mismatch` if it is not the one that was agreed on, with
 * `upload_done` if the name takes none any more, and as `publishAs` does.
 */
export async function land(
  staged: Staged,
  { name, ticket, signal }: Arrival,
  { store, marks, usage }: Pick<ArrivalOptions, 'store' | 'marks' | 'usage'>,
): Promise<void> {
  refuseOther(staged.size === ticket.size && staged.format === name.format, name, ticket)
  await publishAs(name, staged, { store, usage, reservation: ticket.reservation, ...(signal && { signal }) })
  // It was deleted, and its link used once more at the same moment.
  if (!(await marks.isBarred(name))) return
  await store.delete(name.text)
  throw problem('upload_done')
}

/**
 * Makes an image of what was sent to the store under a name. Answers whether there is one now. Rejects with a `Problem` if it is not what
 * was agreed on, and has then deleted it. Those who ask for a name at the same moment get the same answer.
 */
export function arrivals(options: ArrivalOptions): (name: ImageName) => Promise<boolean> {
  const { marks } = options
  const underWay = new Map<string, Promise<boolean>>()

  async function bringIn(name: ImageName): Promise<boolean> {
    const [sent] = await marks.sentUnder(name)
    if (sent === undefined) return exists(options.store, name.text)
    await check(sent.key, { name, ticket: sent.ticket }, options)
    return true
  }

  return (name) => {
    const arrival = underWay.get(name.text) ?? bringIn(name).finally(() => underWay.delete(name.text))
    underWay.set(name.text, arrival)
    return arrival
  }
}

/** Moves one upload to where the images are, unless another replica was quicker. */
async function check(key: string, arrival: Arrival, options: ArrivalOptions): Promise<void> {
  const { incoming, staging, usage } = options
  const { name, ticket } = arrival
  try {
    const { size, body } = await incoming.open(key)
    if (size !== ticket.size) body.destroy()
    refuseOther(size === ticket.size, name, ticket)
    await using staged = await stage(body, staging)
    await land(staged, arrival, options)
  } catch (error) {
    if (error instanceof ObjectNotFound) return
    if (error instanceof Problem) await incoming.delete(key)
    if (!(error instanceof ObjectExists)) throw error
    // Whoever was quicker may have been killed before it was counted.
    if (ticket.reservation) await usage.settle(ticket.reservation)
  }
  // What stays is swept.
  await incoming.delete(key).catch(() => {})
}

function refuseOther(isRight: boolean, name: ImageName, { size }: Ticket): void {
  if (!isRight) throw problem('upload_mismatch', { size, type: FORMATS[name.format].mediaType })
}

/** A store that looks for what it does not have among what was sent, and lets nothing come back that is deleted. */
export function withArrivals(
  store: Store,
  { arrive, bar }: { arrive(name: ImageName): Promise<boolean>; bar(name: ImageName): Promise<void> },
): Store {
  async function find<T>(key: string, look: () => Promise<T>): Promise<T> {
    try {
      return await look()
    } catch (error) {
      const name = error instanceof ObjectNotFound ? parseName(key) : undefined
      if (name === undefined || !(await arrive(name).catch(refusedIsFalse))) throw error
      return look()
    }
  }
  return {
    ...store,
    stat: (key) => find(key, () => store.stat(key)),
    open: (key, options) => find(key, () => store.open(key, options)),
    async delete(key) {
      const name = parseName(key)
      if (name !== undefined) await bar(name)
      await store.delete(key)
    },
  }
}

/** To whoever asks for the image, what was refused was never uploaded. */
function refusedIsFalse(error: unknown): false {
  if (error instanceof Problem) return false
  throw error
}
