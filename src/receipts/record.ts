import { hash } from 'node:crypto'
import type { ImageName } from '../name.ts'
import { MOST_KEPT, type Receipt } from './receipts.ts'

/** Characters of a receipt as it is kept. All have the same, so that those of an image are one text, which is cut where it gets too long. */
const WIDTH = 80

/** Characters of all receipts of an image. */
export const MOST_CHARACTERS = WIDTH * MOST_KEPT

/** Bytes of a name's hash: its 130 random bits are not found by trying. */
const HASH_BYTES = 16

/** What an image is known by where receipts are kept. */
export function markOf({ text }: ImageName): Buffer {
  return hash('sha256', text, 'buffer').subarray(0, HASH_BYTES)
}

/** Receipts as text, the newest first; `receipts` has the oldest first. */
export function encode(receipts: readonly Receipt[]): string {
  let text = ''
  for (const receipt of receipts) text = encodeOne(receipt) + text
  return text
}

function encodeOne({ at, method, fetcher, network, status, bytes, complete, ms }: Receipt): string {
  const text = `${at} ${method} ${fetcher} ${network} ${status} ${bytes} ${complete ? 1 : 0} ${Math.min(ms, 999_999_999)}`
  return text.slice(0, WIDTH).padEnd(WIDTH)
}

/** Reads what `encode` made, in its order. */
export function decode(text: string): Receipt[] {
  const receipts: Receipt[] = []
  for (let start = 0; start < text.length; start += WIDTH) {
    const [at, method, fetcher = '', network = '', status, bytes, complete, ms] = text
      .slice(start, start + WIDTH)
      .split(' ')
    receipts.push({
      at: Number(at),
      method: method === 'HEAD' ? 'HEAD' : 'GET',
      fetcher,
      network,
      status: Number(status),
      bytes: Number(bytes),
      complete: complete === '1',
      ms: Number(ms),
    })
  }
  return receipts
}
