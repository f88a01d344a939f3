import type { Config } from './config.ts'
import { problem } from './errors.ts'
import { FORMATS, type Format } from './formats.ts'
import { type ImageName, isExpired, makeName } from './name.ts'
import { type Arrival, arrivals, land, withArrivals } from './presign/arrivals.ts'
import { exists, incomingKey, marksIn } from './presign/marks.ts'
import { openTicket, sealTicket, type Ticket } from './presign/ticket.ts'
import { closingTime, holdOf, type Times } from './presign/times.ts'
import { reserve } from './publish.ts'
import type { Spool } from './spool.ts'
import { stage } from './stage.ts'
import { type IncomingArea, ObjectExists, type Store } from './store/store.ts'
import type { Quota, Usage } from './usage/usage.ts'

export interface PresignOptions {
  readonly config: Pick<Config, keyof Times | 'maxFileSize' | 'maxPixels'>
  /** Where images are. */
  readonly store: Store
  readonly area: IncomingArea
  readonly usage: Usage
  readonly spool: Spool
  readonly secret: Buffer
  /** Unix milliseconds. */
  readonly now: () => number
  /** A link to ourselves that takes the image. */
  readonly uploadUrlOf: (name: ImageName, ticket: string) => string
}

/** What a client wants to send. */
export interface Order {
  readonly keyId: string
  readonly quota: Quota
  readonly format: Format
  /** Bytes. */
  readonly size: number
  /** Seconds from now to the image's expiry; `Infinity` for never. */
  readonly lifetime: number
}

/** Uploads that are agreed on first and sent afterwards, to the store itself where it takes them, else to us. */
export interface Presign {
  /** Gives out a name, reserves the quota, and signs a link that takes the image until `deadline`, in Unix seconds. */
  announce(order: Order): Promise<{ name: ImageName; uploadUrl: string; deadline: number }>

  /** What a link to ourselves says; undefined if we did not make it. */
  ticketOf(name: ImageName, text: string): Ticket | undefined

  /**
   * Stores what is sent to a link to ourselves. Rejects with a `Problem` if it is not what was agreed on, or if the link has been used,
   * and with what `stage` and `publishAs` reject with; the link then works as before.
   */
  receive(body: AsyncIterable<Buffer>, arrival: Arrival): Promise<void>

  /**
   * Makes an image of what was sent to the store under a name, if there is none yet. Rejects with `upload_missing` if nothing was, and
   * with another `Problem` if it is not what was agreed on; it has then been deleted.
   */
  complete(name: ImageName): Promise<void>

  /** The images, with those that have been sent but that nobody has looked for so far. What is deleted stays so. */
  readonly store: Store
}

export function openPresign(options: PresignOptions): Presign {
  const { config, store, area, usage, spool, secret, now } = options
  const marks = marksIn(area.store, secret)
  const staging = { spool, digest: store.digest, ...config }
  const arrivesIn = arrivals({ store, incoming: area.store, marks, usage, staging })
  const isOpen = (name: ImageName) =>
    name.presigned && !isExpired(name, now()) && now() < closingTime(name, config) * 1000

  /** Whether there is an image now that was sent to the store itself. */
  const arrive = async (name: ImageName) => area.sign !== undefined && isOpen(name) && arrivesIn(name)

  return {
    announce: (order) => announce(order, options),
    ticketOf: (name, text) => (name.presigned ? openTicket(text, name, secret) : undefined),

    async receive(body, arrival) {
      const { name } = arrival
      if ((await marks.isBarred(name)) || (await exists(store, name.text))) throw problem('upload_done')
      await using staged = await stage(body, staging)
      await land(staged, arrival, { store, marks, usage }).catch((error) => {
        throw error instanceof ObjectExists ? problem('upload_done') : error
      })
    },

    async complete(name) {
      if (!(await exists(store, name.text)) && !(await arrive(name))) throw problem('upload_missing')
    },

    store: withArrivals(store, {
      arrive,
      bar: async (name) => {
        if (isOpen(name)) await marks.bar(name)
      },
    }),
  }
}

async function announce(
  { keyId, quota, format, size, lifetime }: Order,
  { config, area, usage, secret, now, uploadUrlOf }: PresignOptions,
) {
  const time = now()
  const created = Math.floor(time / 1000)
  const name = makeName({ created, expires: created + lifetime, format, keyId, secret, presigned: true })
  const deadline = Math.min(created + config.presignLifetime, name.expires)
  const hold = holdOf(config)
  const reservation = await reserve(size, { usage, quota: { ...quota, hold }, keyId, now: time })
  try {
    const ticket = sealTicket({ size, deadline, reservation }, name, secret)
    const contentType = FORMATS[format].mediaType
    const upload = { key: incomingKey(name, ticket), contentType, size, seconds: deadline - created }
    const uploadUrl = area.sign ? await area.sign(upload) : uploadUrlOf(name, ticket)
    return { name, uploadUrl, deadline }
  } catch (error) {
    if (reservation) await usage.release(reservation).catch(() => {})
    throw error
  }
}
