import type { Admission } from './admission.ts'
import type { Config } from './config.ts'
import { problem } from './errors.ts'
import { FORMATS, type Format } from './formats.ts'
import { type ImageName, isAnnounced, isExpired, makeName } from './name.ts'
import { type Arrival, arrivals, withArrivals } from './presign/arrivals.ts'
import { type OpenLinks, openLinks } from './presign/links.ts'
import { exists, incomingKey, marksIn } from './presign/marks.ts'
import { openTicket, sealTicket, type Ticket } from './presign/ticket.ts'
import { closingTime, holdOf, type Times } from './presign/times.ts'
import { chargeFor, reserve } from './publish.ts'
import type { Spool } from './spool.ts'
import type { Staged } from './stage.ts'
import { type IncomingArea, ObjectExists, type Store } from './store/store.ts'
import type { Quota, Reservation, Usage } from './usage/usage.ts'

export interface PresignOptions {
  readonly config: Pick<Config, keyof Times | 'maxFileSize' | 'maxPixels' | 'maxOpenLinks'>
  /** Where images are. */
  readonly store: Store
  readonly area: IncomingArea
  readonly admission: Pick<Admission, 'take'>
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
  /**
   * Gives out a name, reserves the quota, and signs a link that takes the image until `deadline`,
   * in Unix seconds. Rejects with `links_exceeded` if the key has too many open links, and as
   * `reserve` does.
   */
  announce(order: Order): Promise<{ name: ImageName; uploadUrl: string; deadline: number }>

  /** What a link to ourselves says; undefined if we did not make it. */
  ticketOf(name: ImageName, text: string): Ticket | undefined

  /** Rejects with `upload_done` if a name has its image, or takes none any more. */
  refuseUsed(name: ImageName): Promise<void>

  /** Stores what was sent to a link to ourselves; see `Arrivals`, but for an image that exists it is `upload_done`. */
  land(staged: Staged, arrival: Arrival): Promise<void>

  /**
   * Makes an image of what was sent to the store under a name, if there is none yet. Rejects with `upload_missing` if nothing was, with
   * `image_not_found` if nothing can be any more, and with another `Problem` if it is not what was agreed on; it has then been deleted.
   */
  complete(name: ImageName): Promise<void>

  /**
   * Lets the link of a key's name take nothing from now on, and answers whether it would have; an
   * image that came by it is deleted. What it holds of the quota stays held, as it may be in the
   * bucket already.
   */
  revoke(name: ImageName, keyId: string): Promise<boolean>

  /** The images, with those that have been sent but that nobody has looked for so far. What is deleted stays so. */
  readonly store: Store
}

export function openPresign(options: PresignOptions): Presign {
  const { config, store, area, admission, usage, spool, secret, now } = options
  const marks = marksIn(area.store, secret)
  const links = openLinks(options)
  const staging = { spool, digest: store.digest, ...config }
  const { land, bringIn } = arrivals({ store, incoming: area.store, marks, links, admission, usage, staging })
  const isOpen = (name: ImageName) =>
    isAnnounced(name, secret) && !isExpired(name, now()) && now() < closingTime(name, config) * 1000

  /** Whether there is an image now that was sent to the store itself. */
  const arrive = async (name: ImageName) => area.sign !== undefined && isOpen(name) && bringIn(name)

  /** Before the image is deleted, so that none can come after. */
  async function bar(name: ImageName): Promise<boolean> {
    if (!isOpen(name)) return false
    await marks.bar(name)
    return true
  }

  return {
    announce: (order) => announce(order, links, options),
    ticketOf: (name, text) => (name.presigned ? openTicket(text, name, secret) : undefined),

    async refuseUsed(name) {
      if ((await marks.isBarred(name)) || (await exists(store, name.text))) throw problem('upload_done')
    },

    async land(staged, arrival) {
      await land(staged, arrival).catch((error) => {
        throw error instanceof ObjectExists ? problem('upload_done') : error
      })
    },

    async complete(name) {
      if (await exists(store, name.text)) return
      if (!isOpen(name) || (await marks.isBarred(name))) throw problem('image_not_found')
      if (!(await arrive(name))) throw problem('upload_missing')
    },

    async revoke(name, keyId) {
      const wasOpen = await bar(name)
      if (wasOpen) await store.delete(name.text)
      // A link to the bucket itself goes on working until its end.
      if (wasOpen && area.sign === undefined) await links.free(keyId, name)
      return wasOpen
    },

    store: withArrivals(store, { arrive, bar }),
  }
}

async function announce(
  { keyId, quota, format, size, lifetime }: Order,
  links: OpenLinks,
  { config, area, usage, secret, now, uploadUrlOf }: PresignOptions,
) {
  const time = now()
  const created = Math.floor(time / 1000)
  const name = makeName({ created, expires: created + lifetime, format, keyId, secret, presigned: true })
  const deadline = Math.min(created + config.presignLifetime, name.expires)
  const hold = holdOf(config)
  await links.take(keyId, name)
  let reservation: Reservation | undefined
  try {
    reservation = await reserve(chargeFor(size), { usage, quota: { ...quota, hold }, keyId, now: time })
    const ticket = sealTicket({ size, deadline, keyId, reservation }, name, secret)
    const contentType = FORMATS[format].mediaType
    const upload = { key: incomingKey(name, ticket), contentType, size, seconds: deadline - created }
    const uploadUrl = area.sign ? await area.sign(upload) : uploadUrlOf(name, ticket)
    return { name, uploadUrl, deadline }
  } catch (error) {
    if (reservation) await usage.release(reservation).catch(() => {})
    await links.free(keyId, name)
    throw error
  }
}
