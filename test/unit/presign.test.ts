import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { problem } from '../../src/errors.ts'
import { type ImageName, parseName } from '../../src/name.ts'
import { incomingKey } from '../../src/presign/marks.ts'
import { openTicket, sealTicket } from '../../src/presign/ticket.ts'
import { isLeftover } from '../../src/presign/times.ts'
import { openPresign, type Presign, type PresignOptions } from '../../src/presign.ts'
import { openMemoryStore } from '../../src/store/memory.ts'
import { ObjectNotFound, type Store, StoreError } from '../../src/store/store.ts'
import { openSqliteUsage } from '../../src/usage/sqlite.ts'
import { type Usage, UsageError } from '../../src/usage/usage.ts'
import { pngOfSize } from '../support/images.ts'
import { tempSpool } from '../support/temp-folder.ts'

const NOW = Date.UTC(2026, 0, 2)
const SIZE = 5000
const png = pngOfSize(SIZE)
const secret = Buffer.alloc(32, 7)
const keyId = 'a'.repeat(64)
const config = {
  presignLifetime: 900,
  uploadTimeout: 300,
  maxOpenLinks: 100,
  maxFileSize: 1_000_000,
  maxPixels: 1e8,
}

let now: number
let store: Store
let incoming: Store
let usage: Usage
let folder: Awaited<ReturnType<typeof tempSpool>>
let dir: string
/** The store's keys as they were signed. */
let signed: string[]
beforeEach(async () => {
  ;[now, store, incoming, signed] = [NOW, openMemoryStore(), openMemoryStore(), []]
  folder = await tempSpool()
  dir = await mkdtemp(join(tmpdir(), 'layover-'))
  usage = await openSqliteUsage({ path: join(dir, 'usage.sqlite') })
})
afterEach(async () => {
  await usage.close()
  await rm(dir, { recursive: true })
  await folder[Symbol.asyncDispose]()
})

/** One replica; those of a test share the stores. */
function replica(options: Partial<PresignOptions> = {}): Presign {
  return openPresign({
    admission: { take: async () => ({ [Symbol.dispose]: () => {} }) },
    ...{ config, store, usage, spool: folder.spool, secret, now: () => now, uploadUrlOf: () => 'here' },
    area: {
      store: incoming,
      sign: async ({ key }) => {
        signed.push(key)
        return `https://bucket.example.com/${key}`
      },
    },
    ...options,
  })
}

const quota = { limit: 100_000, window: 3600, hold: 60 }
const order = { keyId, quota, format: 'png', size: SIZE, lifetime: 3600 } as const
const used = async () => {
  const { used, reserved } = await usage.read({ key: keyId, window: 3600, now })
  return { used, reserved }
}

/** What a client does with a link to the bucket. */
async function send(bytes = png): Promise<void> {
  const key = signed.at(-1) ?? ''
  await incoming.delete(key)
  await incoming.put(key, { size: bytes.length, bytes, open: () => Readable.from([bytes]) })
}

const keysOf = async (of: Store) => (await Array.fromAsync(of.list())).map(({ key }) => key)

describe('what was sent to the bucket', () => {
  test('is an image for whoever asks first, counted once, and moved', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    expect(await used()).toEqual({ used: 0, reserved: SIZE })
    await expect(presign.store.stat(name.text)).rejects.toThrow(ObjectNotFound)
    await send()
    expect(await presign.store.stat(name.text)).toEqual({ size: SIZE })
    expect(await keysOf(incoming)).toEqual([])
    expect(await used()).toEqual({ used: SIZE, reserved: 0 })
  })

  test('is looked for once, however many replicas are asked at the same moment', async () => {
    const replicas = Array.from({ length: 5 }, () => replica())
    const { name } = await (replicas[0] as Presign).announce(order)
    await send()
    const sizes = await Promise.all(replicas.flatMap((one) => [1, 2].map(() => one.store.stat(name.text))))
    expect(sizes).toEqual(sizes.map(() => ({ size: SIZE })))
    expect(await used()).toEqual({ used: SIZE, reserved: 0 })
  })

  test('is found by whoever looks for it just when another replica has moved it', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    await send()
    const list: Store['list'] = async function* (options) {
      await presign.store.stat(name.text)
      yield* incoming.list(options)
    }
    const late = replica({ area: { store: { ...incoming, list }, sign: async () => '' } })
    expect(await late.store.stat(name.text)).toEqual({ size: SIZE })
  })

  test('stays there while the store fails, and is an image afterwards', async () => {
    let isDown = true
    const failing: Store = {
      ...store,
      put: async (...args) => {
        if (isDown) throw new StoreError('down')
        return store.put(...args)
      },
    }
    const presign = replica({ store: failing })
    const { name } = await presign.announce(order)
    await send()
    await expect(presign.store.stat(name.text)).rejects.toThrow('down')
    await expect(presign.complete(name)).rejects.toThrow('down')
    expect(await keysOf(incoming)).toHaveLength(1)
    isDown = false
    expect(await presign.store.stat(name.text)).toEqual({ size: SIZE })
  })

  test('is no image while it cannot be counted', async () => {
    let isDown = true
    const failing: Usage = {
      ...usage,
      settle: async (reservation) => {
        if (isDown) throw new UsageError('down')
        return usage.settle(reservation)
      },
    }
    const presign = replica({ usage: failing })
    const { name } = await presign.announce(order)
    await send()
    await expect(presign.store.stat(name.text)).rejects.toThrow(UsageError)
    expect(await keysOf(store)).toEqual([])
    isDown = false
    expect(await presign.store.stat(name.text)).toEqual({ size: SIZE })
    expect(await used()).toEqual({ used: SIZE, reserved: 0 })
  })

  test('is looked at only where there is a place for it, and stays until there is', async () => {
    let isBusy = true
    const take = async () => {
      if (isBusy) throw problem('server_busy')
      return { [Symbol.dispose]: () => {} }
    }
    const presign = replica({ admission: { take } })
    const { name } = await presign.announce(order)
    await send()
    await expect(presign.store.stat(name.text)).rejects.toMatchObject({ code: 'server_busy' })
    await expect(presign.complete(name)).rejects.toMatchObject({ code: 'server_busy' })
    isBusy = false
    expect(await presign.store.stat(name.text)).toEqual({ size: SIZE })
  })

  test('is found by whoever joins those who looked before it had come', async () => {
    let proceed = () => {}
    const paused = new Promise<void>((resolve) => {
      proceed = resolve
    })
    let times = 0
    const list: Store['list'] = async function* (options) {
      times += 1
      const found = await Array.fromAsync(incoming.list(options))
      if (times === 1) await paused
      yield* found
    }
    const area = {
      store: { ...incoming, list },
      sign: async ({ key }: { key: string }) => `${signed.push(key)}`,
    }
    const presign = replica({ area })
    const { name } = await presign.announce(order)
    const early = presign.store.stat(name.text).catch((error) => error)
    await expect.poll(() => times).toBe(1)
    await send()
    const late = presign.complete(name)
    await new Promise((resolve) => setTimeout(resolve, 50))
    proceed()
    expect(await early).toBeInstanceOf(ObjectNotFound)
    await late
    expect(await presign.store.stat(name.text)).toEqual({ size: SIZE })
  })

  test('is looked for only under names that we gave out', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    await send()
    const forged = parseName(
      `${name.text.slice(0, 20)}${name.text[20] === '0' ? '1' : '0'}${name.text.slice(21)}`,
    )
    const list = () => expect.unreachable('it was looked for')
    const strict = replica({ area: { store: { ...incoming, list }, sign: async () => '' } })
    await expect(strict.store.stat(forged?.text ?? '')).rejects.toThrow(ObjectNotFound)
    await expect(strict.store.stat(name.text)).rejects.toThrow('it was looked for')
  })

  test('is counted by the next one to look, if a replica was killed before it could', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    await send()
    await store.put(name.text, { size: SIZE, bytes: png, open: () => Readable.from([png]) })
    // Somebody who asks at the moment when the image was not there yet.
    let isHidden = true
    const late = replica({
      store: {
        ...store,
        stat: async (key) => {
          if (isHidden) throw new ObjectNotFound(key)
          return store.stat(key)
        },
        put: async (...args) => {
          isHidden = false
          return store.put(...args)
        },
      },
    })
    expect(await late.store.stat(name.text)).toEqual({ size: SIZE })
    expect(await used()).toEqual({ used: SIZE, reserved: 0 })
    expect(await keysOf(incoming)).toEqual([])
  })

  test('is not looked for when its time is over, nor under a name that was not given out so', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    await send()
    now = NOW + 1_199_999
    await expect(replica({ secret: Buffer.alloc(32, 8) }).store.stat(name.text)).rejects.toThrow(
      ObjectNotFound,
    )
    now = NOW + 1_200_000
    await expect(presign.store.stat(name.text)).rejects.toThrow(ObjectNotFound)
    now = NOW + 1_199_999
    expect(await presign.store.stat(name.text)).toEqual({ size: SIZE })
  })

  test('does not bring an image back that has expired meanwhile', async () => {
    const presign = replica()
    const { name } = await presign.announce({ ...order, lifetime: 10 })
    await send()
    now = NOW + 10_000
    await expect(presign.store.stat(name.text)).rejects.toThrow(ObjectNotFound)
    expect(await keysOf(store)).toEqual([])
  })
})

describe('an image that is deleted', () => {
  test('stays so, even if its link is used while that happens', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    await send()
    await presign.store.stat(name.text)
    await send()
    // The other replica has seen that nothing bars the name, and is slow to store.
    let proceed = () => {}
    const paused = new Promise<void>((resolve) => {
      proceed = resolve
    })
    let isStoring = () => {}
    const storing = new Promise<void>((resolve) => {
      isStoring = resolve
    })
    const slow = replica({
      store: {
        ...store,
        stat: async (key) => {
          throw new ObjectNotFound(key)
        },
        put: async (...args) => {
          isStoring()
          await paused
          return store.put(...args)
        },
      },
    })
    const looking = slow.store.stat(name.text).catch((error) => error)
    await storing
    await presign.store.delete(name.text)
    proceed()
    expect(await looking).toBeInstanceOf(ObjectNotFound)
    expect(await keysOf(store)).toEqual([])
    await expect(presign.store.stat(name.text)).rejects.toThrow(ObjectNotFound)
  })

  test('is not even stored for a moment, if its link is used later', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    await presign.store.delete(name.text)
    await send()
    const put = () => expect.unreachable('it was stored')
    await expect(replica({ store: { ...store, put } }).store.stat(name.text)).rejects.toThrow(ObjectNotFound)
  })

  test('by nobody’s link costs no mark', async () => {
    const presign = replica()
    const { name } = await presign.announce(order)
    now = NOW + 1_200_000
    await presign.store.delete(name.text)
    expect(await keysOf(incoming)).toEqual([])
  })
})

test('a quota that does not allow it makes no link, and a link that cannot be signed takes no quota', async () => {
  const presign = replica()
  await expect(presign.announce({ ...order, quota: { ...quota, limit: SIZE - 1 } })).rejects.toMatchObject({
    code: 'file_over_quota',
  })
  const failing = { store: incoming, sign: () => Promise.reject(new StoreError('no credentials')) }
  await expect(replica({ area: failing }).announce(order)).rejects.toThrow('no credentials')
  expect(await used()).toEqual({ used: 0, reserved: 0 })
})

describe('open links', () => {
  const capped = { config: { ...config, maxOpenLinks: 2 } }
  const unlimited = { ...order, quota: { ...quota, limit: 0 } }
  const otherKey = { ...unlimited, keyId: 'b'.repeat(64) }
  const [one, other] = [() => replica(capped), () => replica(capped)]
  const refusedUntil = (wait: number) => ({
    ...{ status: 429, code: 'links_exceeded' },
    headers: { 'retry-after': String(wait) },
  })
  const refused = refusedUntil(900)

  test('of a key are no more than its cap, on all replicas together, without a quota too', async () => {
    await one().announce(unlimited)
    now += 60_000
    await other().announce(unlimited)
    await expect(one().announce(unlimited)).rejects.toMatchObject(refusedUntil(840))
    await expect(other().announce(unlimited)).rejects.toThrow('This key has 2 open upload links')
    await one().announce(otherKey)
  })

  test('end by themselves after the life of a link', async () => {
    await one().announce(unlimited)
    now += 60_000
    await one().announce(unlimited)
    now = NOW + 900_000 - 1
    await expect(one().announce(unlimited)).rejects.toMatchObject(refusedUntil(1))
    now += 1
    await one().announce(unlimited)
    await expect(one().announce(unlimited)).rejects.toMatchObject(refusedUntil(60))
  })

  const ENDS: Record<string, (presign: Presign, name: ImageName) => Promise<unknown>> = {
    used: async (presign, name) => {
      await send()
      await presign.complete(name)
    },
    'taken back': (presign, name) => presign.revoke(name, keyId),
  }

  test.each([
    { what: 'used', isSigned: true },
    { what: 'taken back', isSigned: false },
  ])('that are $what make room for others, once each', async ({ what, isSigned }) => {
    const of = () => replica(isSigned ? capped : { ...capped, area: { store: incoming } })
    await of().announce(unlimited)
    const { name } = await of().announce(unlimited)
    await expect(of().announce(unlimited)).rejects.toMatchObject(refused)
    await ENDS[what]?.(of(), name)
    await ENDS[what]?.(of(), name)
    await of().announce(unlimited)
    await expect(of().announce(unlimited)).rejects.toMatchObject(refused)
  })

  test('to the bucket that are taken back count until their end, as they go on working', async () => {
    await one().announce(unlimited)
    const { name } = await one().announce(unlimited)
    await one().revoke(name, keyId)
    await expect(one().announce(unlimited)).rejects.toMatchObject(refused)
  })

  test('are none of those that could not be given out', async () => {
    await expect(one().announce({ ...order, size: 200_000 })).rejects.toMatchObject({
      code: 'file_over_quota',
    })
    const broken = replica({
      ...capped,
      area: { store: incoming, sign: () => Promise.reject(new Error('no')) },
    })
    for (const _ of [1, 2, 3]) await expect(broken.announce(order)).rejects.toThrow('no')
    await one().announce(order)
    await one().announce(order)
    await expect(one().announce(order)).rejects.toMatchObject(refused)
    expect(await used()).toEqual({ used: 0, reserved: 2 * SIZE })
  })

  test('are not counted with a cap of 0', async () => {
    const presign = replica({ config: { ...config, maxOpenLinks: 0 } })
    for (let i = 0; i < 5; i += 1) await presign.announce(unlimited)
  })
})

describe('a ticket', () => {
  const reservation = {
    granted: true,
    key: keyId,
    id: 'c0ffee00-0000-4000-8000-0123456789ab',
    bytes: SIZE,
  } as const
  const ticket = { size: SIZE, deadline: 1_800_000_000, keyId, reservation }
  let name: ImageName
  beforeEach(async () => {
    name = (await replica().announce(order)).name
  })

  test('says what it was made of, to whoever has the secret, for its name alone', async () => {
    const text = sealTicket(ticket, name, secret)
    expect(openTicket(text, name, secret)).toEqual(ticket)
    expect(openTicket(text, name, Buffer.alloc(32, 8))).toBeUndefined()
    expect(openTicket(text, (await replica().announce(order)).name, secret)).toBeUndefined()
    const open = { ...ticket, reservation: undefined }
    expect(openTicket(sealTicket(open, name, secret), name, secret)).toEqual(open)
  })

  test('is none with any digit changed, cut off or added', () => {
    const text = sealTicket(ticket, name, secret)
    for (let i = 0; i < text.length; i += 1) {
      const digit = text[i] === '0' ? '1' : '0'
      expect(openTicket(text.slice(0, i) + digit + text.slice(i + 1), name, secret)).toBeUndefined()
      expect(openTicket(text.slice(0, i), name, secret)).toBeUndefined()
    }
    for (const other of ['', '00', `${text}00`, text.toUpperCase(), 'barred', 'zz'.repeat(88)])
      expect(openTicket(other, name, secret), other).toBeUndefined()
  })

  test('shows nobody whose key it was, and fits into the name of a file', () => {
    const text = sealTicket(ticket, name, secret)
    expect(text).not.toContain(keyId.slice(0, 16))
    expect(incomingKey(name, text).length).toBeLessThan(250)
  })
})

test('what lies in the area is of use until its link has run out, and what is not ours is nobody’s leftover', async () => {
  const { name } = await replica().announce(order)
  const isOver = (key: string, at: number) => isLeftover(key, config, at)
  for (const key of [signed[0] ?? '', incomingKey(name, 'barred')]) {
    expect(isOver(key, NOW + 1_259_999)).toBe(false)
    expect(isOver(key, NOW + 1_260_000)).toBe(true)
  }
  for (const key of ['', 'notes.txt', 'x'.repeat(60)])
    expect(isOver(key, Number.MAX_SAFE_INTEGER)).toBe(false)
})
