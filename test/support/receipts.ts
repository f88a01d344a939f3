import { type ImageName, makeName } from '../../src/name.ts'
import type { Receipt } from '../../src/receipts/receipts.ts'

const SECRET = Buffer.alloc(32, 7)

/** The name of an image that nobody stored; `life` in seconds. */
export function newName(life = 3600, now = Date.now()): ImageName {
  const created = Math.floor(now / 1000)
  return makeName({ created, expires: created + life, format: 'png', keyId: 'anna', secret: SECRET })
}

/** A receipt; `changes` say what is not as usual. */
export function receiptOf(changes: Partial<Receipt> = {}): Receipt {
  const usual = { at: Date.now(), method: 'GET', fetcher: 'openai', network: '203.0.113.0/24' } as const
  return { ...usual, status: 200, bytes: 67, complete: true, ms: 3, ...changes }
}
