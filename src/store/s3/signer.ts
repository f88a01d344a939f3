import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { DeleteObjectCommand, HeadObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { type IncomingArea, StoreError } from '../store.ts'
import { attempts } from './calls.ts'
import { type S3Connection, s3Client } from './client.ts'

/** What a link binds besides the object's name. The signer would leave the type out. */
const BOUND = new Set(['host', 'content-type', 'content-length'])
type Sign = NonNullable<IncomingArea['sign']>

const TRIAL_TYPE = 'image/png'
/** Seconds that a trial link lives. */
const TRIAL_LIFETIME = 60

export interface SignerOptions extends S3Connection {
  readonly bucket: string
  /** What the keys of all uploads begin with. */
  readonly prefix: string
  /** Seconds for starting. */
  readonly timeout: number
  /** Where clients find the server, if not at `endpoint`. */
  readonly clientEndpoint?: string | undefined
  /** Of a key that may only put objects below `prefix`; unset for that of the store. */
  readonly uploadCredentials?: S3Connection['credentials']
  readonly onNote: (note: string) => void
}

/**
 * Signs links to which clients can send an object. Tries one out first: answers undefined, and says why in a note, if the server does
 * not hold to what a link says. Rejects with what to change if it takes no upload at all.
 */
export async function openSigner(options: SignerOptions): Promise<IncomingArea['sign']> {
  const { credentials, uploadCredentials = credentials, clientEndpoint, endpoint, onNote } = options
  const here = signerFor({ ...options, credentials: uploadCredentials })
  const fault = await tryOut(here, options)
  if (fault !== undefined) {
    onNote(`links to upload to lead to this server, not to the bucket: ${fault}`)
    return undefined
  }
  return signerFor({
    ...options,
    credentials: uploadCredentials,
    endpoint: clientEndpoint ?? endpoint,
  })
}

function signerFor(options: SignerOptions): Sign {
  // It signs without a call, but would look for a role's credentials with one.
  const client = s3Client(options, { maxSockets: 1, silence: 5000 })
  return ({ key, contentType, size, seconds }) => {
    const command = new PutObjectCommand({
      Bucket: options.bucket,
      Key: options.prefix + key,
      ContentType: contentType,
      ContentLength: size,
    })
    return getSignedUrl(client, command, { expiresIn: seconds, signableHeaders: BOUND })
  }
}

/** Sends what links are for, and what they are not for. Answers what the server does wrong, if so. */
async function tryOut(sign: Sign, options: SignerOptions): Promise<string | undefined> {
  const { bucket: Bucket, prefix, timeout } = options
  const signal = AbortSignal.timeout(timeout * 1000)
  const client = s3Client(options, { maxSockets: 1, silence: 5000 })
  const objects = ['sent', 'own', 'copy'].map((name) => ({
    Bucket,
    Key: `${prefix}.layover-${name}-${randomUUID()}`,
  })) as [TrialObject, TrialObject, TrialObject]
  const send: SendTrial = async ({ Key }, headers = {}, body = 'layover') => {
    const key = Key.slice(prefix.length)
    const url = await sign({ key, contentType: TRIAL_TYPE, size: 7, seconds: TRIAL_LIFETIME })
    const all = { 'content-type': TRIAL_TYPE, ...headers }
    return attempts(() => put(client, url, { body, headers: all, signal }), signal)
  }
  try {
    return await faultOf(send, objects, { client, signal, ...options })
  } catch (error) {
    if (error instanceof StoreError) throw error
    throw new StoreError('S3_ENDPOINT: takes no upload by a signed link', { cause: error })
  } finally {
    await Promise.allSettled(objects.map((object) => client.send(new DeleteObjectCommand(object))))
    client.destroy()
  }
}

interface TrialObject {
  readonly Bucket: string
  readonly Key: string
}

/** Sends an upload by a link for an object. Answers the status. */
type SendTrial = (object: TrialObject, headers?: Record<string, string>, body?: string) => Promise<number>

async function faultOf(
  send: SendTrial,
  [sent, own, copy]: [TrialObject, TrialObject, TrialObject],
  { client, signal: abortSignal, prefix, onNote }: SignerOptions & { client: S3Client; signal: AbortSignal },
): Promise<string | undefined> {
  const status = await send(sent)
  if (!isTaken(status)) throw refused(prefix, status)
  await client.send(new HeadObjectCommand(sent), { abortSignal }).catch(unreadable)
  if (isTaken(await send(sent, { 'content-type': 'text/html' })))
    return 'the store takes another type than the link says'
  if (isTaken(await send(sent, {}, 'more than that')))
    return 'the store takes another size than the link says'
  await client.send(new PutObjectCommand({ ...own, Body: 'x' }), { abortSignal })
  if (isTaken(await send(copy, { 'x-amz-copy-source': `/${own.Bucket}/${own.Key}` }))) onNote(COPIES)
  return undefined
}

/** A redirect is not followed, and so takes nothing. */
const isTaken = (status: number) => status < 300

interface Trial {
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Sends an upload by a link, on connections and with limits of a client's. Answers the status; rejects with what may pass. */
async function put({ config }: S3Client, link: string, { signal, ...trial }: Trial): Promise<number> {
  const { protocol, hostname, port, pathname, search } = new URL(link)
  const address = { protocol, hostname, path: pathname + search, ...(port !== '' && { port: Number(port) }) }
  const sent = config.requestHandler.handle({ method: 'PUT', ...address, ...trial }, { abortSignal: signal })
  const { statusCode: status, body }: { statusCode: number; body: Readable } = (await sent).response
  body.destroy()
  if (status < 500 || status === 501) return status
  throw Object.assign(new Error('a trial upload failed'), { $metadata: { httpStatusCode: status } })
}

function unreadable(error: unknown): never {
  const text =
    'S3_PRESIGN_ACCESS_KEY_ID: what it uploads, S3_ACCESS_KEY_ID may not read; docs/storage.md has the rights that the two need'
  throw new StoreError(text, { cause: error })
}

const COPIES =
  'whoever has a link to upload to can have the store copy what the key that signs it may read: ' +
  'set S3_PRESIGN_ACCESS_KEY_ID to one that may only put objects below S3_INCOMING_PREFIX (docs/storage.md)'

const refused = (prefix: string, status: number) =>
  new StoreError(
    `S3_PRESIGN_ACCESS_KEY_ID: the store refuses an upload to ${prefix} by a signed link (${status}); ` +
      'docs/storage.md has the policy that the key needs, and PRESIGN_LIFETIME=0 does without such links',
  )
