import type { Admission } from '../admission.ts'
import { Problem, problem } from '../errors.ts'
import { FORMATS } from '../formats.ts'
import { type ImageName, parseName } from '../name.ts'
import { type Staged, type StageOptions, stage } from '../stage.ts'
import { ObjectExists, ObjectNotFound, type Store } from '../store/store.ts'
import type { Usage } from '../usage/usage.ts'
import type { OpenLinks } from './links.ts'
import { exists, type Marks } from './marks.ts'
import type { Ticket } from './ticket.ts'

export interface ArrivalOptions {
  /** Where images are. */
  readonly store: Store
  /** Where what is sent arrives. */
  readonly incoming: Store
  readonly marks: Marks
  readonly links: Pick<OpenLinks, 'free'>
  /** Each has its slot while it is looked at, as any upload has. */
  readonly admission: Pick<Admission, 'take'>
  readonly usage: Usage
  readonly staging: StageOptions
}

/** What was sent for a name, and what was agreed on. */
export interface Arrival {
  readonly name: ImageName
  readonly ticket: Ticket
}

export interface Arrivals {
  /**
   * Puts an image under the name that was given out for it. Rejects with `upload_mismatch` if it is not the one that was agreed on, with
   * `upload_done` if the name takes none any more, with `ObjectExists` if there is one, and as the store and the usage do. Nothing is taken
   * back then, as others may be at it, too: it can be tried again.
   */
  land(staged: Staged, arrival: Arrival): Promise<void>

  /**
   * Makes an image of what was sent to the store under a name. Answers whether there is one now. Rejects with a `Problem` if it is not what
   * was agreed on, and has then deleted it. Those who ask for a name at the same moment get the same answer.
   */
  bringIn(name: ImageName): Promise<boolean>
}

export function arrivals(options: ArrivalOptions): Arrivals {
  const { store, incoming, marks, links, admission, usage, staging } = options
  const looking = new Map<string, Promise<boolean>>()
  const oneAtATime = queues()

  const land: Arrivals['land'] = async (staged, { name, ticket }) => {
    refuseOther(staged.size === ticket.size && staged.format === name.format, name, ticket)
    await oneAtATime(name.text, async () => {
      // Not every server refuses to replace an object.
      if (await exists(store, name.text)) throw new ObjectExists(name.text)
      // First, as what is stored stays; once only, however often this is tried.
      if (ticket.reservation) await usage.settle(ticket.reservation)
      await store.put(name.text, staged, { keep: true })
      await links.free(ticket.keyId, name)
      // It was deleted, and its link used once more at the same moment.
      if (!(await marks.isBarred(name))) return
      await store.delete(name.text)
      throw problem('upload_done')
    })
  }

  async function look(name: ImageName): Promise<boolean> {
    const [sent] = await marks.sentUnder(name)
    // Another replica may have moved it just now.
    if (sent === undefined) return exists(store, name.text)
    await check(sent.key, { name, ticket: sent.ticket })
    return true
  }

  /** Moves one upload to where the images are, unless another replica was quicker. */
  async function check(key: string, arrival: Arrival): Promise<void> {
    const { name, ticket } = arrival
    try {
      using _slot = await admission.take(ticket.size, ticket.keyId)
      const { size, body } = await incoming.open(key)
      if (size !== ticket.size) body.destroy()
      refuseOther(size === ticket.size, name, ticket)
      await using staged = await stage(body, staging)
      await land(staged, arrival)
    } catch (error) {
      if (error instanceof ObjectNotFound) return
      // Not where it is us who cannot look at it now.
      if (isRefusal(error)) await incoming.delete(key)
      if (!(error instanceof ObjectExists)) throw error
    }
    // What stays is swept.
    await incoming.delete(key).catch(() => {})
  }

  return {
    land,
    async bringIn(name) {
      const before = looking.get(name.text)
      // What was not there for those who asked before may have come since.
      if (before !== undefined && (await before)) return true
      const now = looking.get(name.text) ?? look(name).finally(() => looking.delete(name.text))
      looking.set(name.text, now)
      return now
    },
  }
}

/** Runs work under a name when the work before it, under that name, is done. */
function queues() {
  const last = new Map<string, Promise<unknown>>()
  return async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const mine = (last.get(name) ?? Promise.resolve()).then(work, work)
    last.set(name, mine)
    try {
      return await mine
    } finally {
      if (last.get(name) === mine) last.delete(name)
    }
  }
}

function refuseOther(isRight: boolean, name: ImageName, { size }: Ticket): void {
  if (!isRight) throw problem('upload_mismatch', { size, type: FORMATS[name.format].mediaType })
}

/** A store that looks for what it does not have among what was sent, and lets nothing come back that is deleted. */
export function withArrivals(
  store: Store,
  { arrive, bar }: { arrive(name: ImageName): Promise<boolean>; bar(name: ImageName): Promise<unknown> },
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
  if (isRefusal(error)) return false
  throw error
}

/** Whether what was sent is wrong, and will not be right later. */
function isRefusal(error: unknown): boolean {
  return error instanceof Problem && error.status < 500
}
