import { Readable } from 'node:stream'
import { type ImageName, STEM_WIDTH } from '../name.ts'
import { ObjectExists, ObjectNotFound, type Store } from '../store/store.ts'
import { openTicket, type Ticket } from './ticket.ts'

/** Stands in the place of a ticket where a name takes no upload any more; no ticket is written so. */
const BARRED = 'barred'

/** The key of what a link takes: the name with the ticket in it, so that what arrives says itself what was agreed on. */
export function incomingKey(name: ImageName, ticket: string): string {
  return name.text.slice(0, STEM_WIDTH) + ticket + name.text.slice(STEM_WIDTH)
}

/** What lies in the incoming area under names. */
export interface Marks {
  /** What was sent under a name, with the ticket it was sent by; nothing if the name is barred. */
  sentUnder(name: ImageName): Promise<{ key: string; ticket: Ticket }[]>
  /** Lets no upload become the image of this name, from now on. */
  bar(name: ImageName): Promise<void>
  isBarred(name: ImageName): Promise<boolean>
}

export function marksIn(area: Store, secret: Buffer): Marks {
  return {
    async sentUnder(name) {
      const found = await Array.fromAsync(area.list({ startingWith: name.text.slice(0, STEM_WIDTH) }))
      const marks = found.map(({ key }) => key.slice(STEM_WIDTH, key.indexOf('.')))
      if (marks.includes(BARRED)) return []
      return marks.flatMap((mark) => {
        const ticket = openTicket(mark, name, secret)
        return ticket === undefined ? [] : [{ key: incomingKey(name, mark), ticket }]
      })
    },

    async bar(name) {
      const mark = { size: 1, bytes: Buffer.from('-'), open: () => Readable.from(['-']) }
      await area.put(incomingKey(name, BARRED), mark).catch((error) => {
        if (!(error instanceof ObjectExists)) throw error
      })
    },

    isBarred: (name) => exists(area, incomingKey(name, BARRED)),
  }
}

/** Whether a store has an object. */
export function exists(store: Store, key: string): Promise<boolean> {
  return store.stat(key).then(
    () => true,
    (error) => {
      if (error instanceof ObjectNotFound) return false
      throw error
    },
  )
}
