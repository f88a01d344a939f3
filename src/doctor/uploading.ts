import type { ClientRequest } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Answer, answerTo, ask, begin, PLAIN } from './ask.ts'
import { PROBE } from './stores.ts'
import { bad, good, skipped, type Verdict } from './verdict.ts'

/** Milliseconds for an upload of the largest size. */
export const UPLOAD_LIMIT = 60_000
/** Milliseconds after which the body is sent, if nobody has said whether to. */
const PATIENCE = 2000

const BOUNDARY = 'layover-doctor'
const HEAD = Buffer.from(
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="probe.png"\r\n\r\n`,
)
const TAIL = Buffer.from(`\r\n--${BOUNDARY}--\r\n`)

export interface Attempt {
  /** The server's public address. */
  readonly base: string
  /** A good key, if there is one. Without it, only the headers show whether an upload passes. */
  readonly key: string | undefined
  /** Bytes. */
  readonly maxFileSize: number
}

/**
 * Whether an upload of MAX_FILE_SIZE gets to the server, past whatever stands in front of it.
 *
 * With a key, it is really made, and deleted again. Without, it is announced with a wrong one: the server refuses that by itself, with
 * 401 in its own words, before it wants a byte, and a proxy that minds the size with 413 in other words.
 */
export async function uploadVerdict({ base, key, maxFileSize }: Attempt): Promise<Verdict> {
  const url = `${base}/api/upload`
  const sent = begin(url, {
    method: 'POST',
    headers: {
      ...PLAIN,
      authorization: `Bearer ${key ?? 'layover-doctor-has-no-key'}`,
      'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
      'content-length': HEAD.length + maxFileSize + TAIL.length,
      'x-layover-expires-in': '60',
      expect: '100-continue',
    },
    signal: AbortSignal.timeout(UPLOAD_LIMIT),
  })
  sendWhenWanted(sent, maxFileSize)
  const answer = await answerTo(sent, base)
  if (answer.status === 200 && isOurs(answer)) await deleteUpload(base, answer)
  return judge(answer, { base, key, maxFileSize })
}

function judge(answer: Answer, { key, maxFileSize }: Attempt): Verdict {
  const { status } = answer
  const size = `${Math.round(maxFileSize / 1024 ** 2)} MB`
  if (status === 413 && !isOurs(answer))
    return bad(
      `of ${size} are refused (413) by a proxy in front: let it pass bodies larger than MAX_FILE_SIZE (nginx: client_max_body_size 30m)`,
    )
  if (!isOurs(answer))
    return bad(`are answered ${status} by something else than Layover: pass POST on to it as it comes`)
  if (status === 200) return good(`of ${size} pass`)
  if (status === 401 && key === undefined)
    return good(`of ${size} are let through to the server (LAYOVER_KEY=<key> makes one)`)
  if (status === 401) return bad('are refused, as the key in LAYOVER_KEY is not good')
  return skipped(`get to the server, but it answers ${status} now`)
}

/** Whether the server itself speaks: in its envelope, with its request id. */
function isOurs({ headers, body }: Answer): boolean {
  return (
    'x-request-id' in headers && /^\{"success":(true|false),"message":/.test(body.toString('utf8', 0, 100))
  )
}

async function deleteUpload(base: string, { headers }: Answer): Promise<void> {
  const link = URL.parse(String(headers['x-layover-delete-url']))
  // What cannot be deleted is gone after a minute.
  if (link)
    await ask(`${base}/delete/${link.href.split('/delete/')[1]}`, { method: 'DELETE', headers: PLAIN }).catch(
      () => {},
    )
}

function sendWhenWanted(sent: ClientRequest, size: number): void {
  const send = () => {
    clearTimeout(timer)
    pipeline(Readable.from(form(size)), sent).catch(() => {})
  }
  const timer = setTimeout(send, PATIENCE)
  sent.flushHeaders()
  sent.once('continue', send)
  for (const event of ['response', 'close']) sent.once(event, () => clearTimeout(timer))
}

/** A form with a PNG of this size: behind the end of the image, it is all zeros. */
function* form(size: number): Generator<Buffer> {
  yield HEAD
  yield PROBE
  const zeros = Buffer.alloc(64 * 1024)
  for (let left = size - PROBE.length; left > 0; left -= zeros.length) yield zeros.subarray(0, left)
  yield TAIL
}
