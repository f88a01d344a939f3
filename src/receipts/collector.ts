import type { ImageName } from '../name.ts'
import { type Batch, type Fetches, MOST_KEPT, type Receipt, type ReceiptStore } from './receipts.ts'

/** Receipts as those who serve images give and ask for them. Nothing here ever makes a fetch wait, or fail. */
export interface Receipts {
  /** Takes a receipt, to be kept within the next second or so. */
  note(name: ImageName, receipt: Receipt): void
  /** What is kept of an image, with all that this process has noted. Rejects with the store's failure. */
  read(name: ImageName): Promise<Fetches>
  /** Removes what is kept of an image that was deleted; at once, or as soon as the store can be written. */
  forget(name: ImageName): Promise<void>
  /** Hands over what was noted, and frees all; idempotent. */
  close(): Promise<void>
}

/** Ms for which receipts are gathered, and after which a store that failed is tried again. */
const GATHERED_FOR = 1000
const RETRIED_AFTER = 5000
/** Ms between two looks for what is not to be kept any more. */
const PURGED_EVERY = 60_000
/** Receipts, and images to be forgotten, that wait at most: some 5 MB. What was noted first goes when there are more. */
export const MOST_WAITING = 20_000
/** Images in a call to the store, some 3 ms of a file's. */
const IMAGES_AT_ONCE = 500

export interface CollectorOptions {
  /** Told once when the store begins to fail, and when it works again; `dropped` receipts were lost meanwhile. */
  readonly onTrouble: (error: unknown) => void
  readonly onEnd: (dropped: number) => void
  /** Unix milliseconds. */
  readonly now: () => number
}

/** Of an image, what is still to be handed over. */
interface Waiting {
  readonly name: ImageName
  count: number
  latest: Receipt[]
}

/** Gathers receipts in memory, so that a fetch costs no call to the store, and hands them over in batches. */
export function collectReceipts(store: ReceiptStore, { onTrouble, onEnd, now }: CollectorOptions): Receipts {
  let waiting = new Map<string, Waiting>()
  /** Receipts in `waiting`. */
  let held = 0
  let dropped = 0
  const forgotten = new Map<string, ImageName>()
  let timer: NodeJS.Timeout | undefined
  let handing: Promise<void> | undefined
  let isFailing = false
  let isClosed = false
  const purging = setInterval(() => void attempt(() => store.purge(now())), PURGED_EVERY).unref()

  function put(name: ImageName, count: number, receipts: readonly Receipt[]): void {
    const entry = waiting.get(name.text) ?? { name, count: 0, latest: [] }
    waiting.set(name.text, entry)
    entry.count += count
    const before = entry.latest.length
    for (const receipt of receipts) entry.latest.push(receipt)
    // Not with each, as that would move them all.
    if (entry.latest.length >= 2 * MOST_KEPT) entry.latest = entry.latest.slice(-MOST_KEPT)
    held += entry.latest.length - before
    while (held > MOST_WAITING) drop()
  }

  /** Lets go of those of the image that has waited the longest. */
  function drop(): void {
    const [oldest] = waiting.values()
    if (oldest === undefined) return
    waiting.delete(oldest.name.text)
    held -= oldest.latest.length
    dropped += oldest.count
  }

  /** Does something with the store. Answers whether that went well. */
  async function attempt(act: () => Promise<void>): Promise<boolean> {
    try {
      await act()
    } catch (error) {
      if (!isFailing && !isClosed) onTrouble(error)
      isFailing = true
      return false
    }
    if (isFailing) onEnd(dropped)
    ;[isFailing, dropped] = [false, 0]
    return true
  }

  function schedule(ms: number): void {
    if (!isClosed) timer ??= setTimeout(() => void handOver(), ms).unref()
  }

  /** Hands over all that waits. One that is under way is waited for, but what was noted since is not part of it. */
  function handOver(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    handing ??= handAll().finally(() => {
      handing = undefined
      if (waiting.size + forgotten.size > 0) schedule(isFailing ? RETRIED_AFTER : GATHERED_FOR)
    })
    return handing
  }

  async function handAll(): Promise<void> {
    const names = [...forgotten.values()]
    if (names.length > 0) {
      if (!(await attempt(() => store.forget(names, now())))) return
      for (const { text } of names) forgotten.delete(text)
    }
    const all = [...waiting.values()]
    waiting = new Map()
    held = 0
    for (let start = 0; start < all.length; start += IMAGES_AT_ONCE) {
      // Others get their turn in between.
      if (start > 0) await new Promise(setImmediate)
      const batches = all.slice(start, start + IMAGES_AT_ONCE).map(batchOf)
      if (!(await attempt(() => store.add(batches)))) return takeBack(all.slice(start))
    }
  }

  /** What could not be handed over goes before what was noted since. */
  function takeBack(entries: readonly Waiting[]): void {
    const since = waiting
    waiting = new Map()
    held = 0
    for (const { name, count, latest } of [...entries, ...since.values()])
      if (!forgotten.has(name.text)) put(name, count, latest)
  }

  return {
    note(name, receipt) {
      if (isClosed) return
      put(name, 1, [receipt])
      schedule(GATHERED_FOR)
    },

    async read(name) {
      await handing
      await handOver()
      return store.read(name)
    },

    async forget(name) {
      const entry = waiting.get(name.text)
      waiting.delete(name.text)
      held -= entry?.latest.length ?? 0
      if (forgotten.size < MOST_WAITING) forgotten.set(name.text, name)
      await handing
      await handOver()
    },

    async close() {
      if (isClosed) return
      isClosed = true
      clearInterval(purging)
      await handing
      await handOver()
      clearTimeout(timer)
      await store.close()
    },
  }
}

function batchOf({ name, count, latest }: Waiting): Batch {
  return { name, count, latest: latest.slice(-MOST_KEPT) }
}
