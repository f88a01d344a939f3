import { randomUUID } from 'node:crypto'
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { type IncomingArea, type SignedUpload, StoreError } from '../store.ts'
import { type S3Connection, s3Client } from './client.ts'

/** What a link binds besides the object's name. The signer would leave the type out. */
const BOUND = new Set(['host', 'content-type', 'content-length'])
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

function signerFor(options: SignerOptions): NonNullable<IncomingArea['sign']> {
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

/** Sends what a link is for, and what it is not for. Answers what the server does wrong, if so. */
async function tryOut(
  sign: NonNullable<IncomingArea['sign']>,
  { bucket, prefix, timeout, ...connection }: SignerOptions,
): Promise<string | undefined> {
  const signal = AbortSignal.timeout(timeout * 1000)
  const upload: SignedUpload = {
    key: `.layover-${randomUUID()}`,
    contentType: 'image/png',
    size: 7,
    seconds: TRIAL_LIFETIME,
  }
  const url = await sign(upload)
  const send = async (body: string, type = upload.contentType) => {
    const answer = await fetch(url, { method: 'PUT', body, headers: { 'content-type': type }, signal })
    await answer.arrayBuffer()
    return answer
  }
  try {
    const right = await send('layover').catch((error) => {
      throw new StoreError('S3_ENDPOINT: takes no upload by a signed link', { cause: error })
    })
    if (!right.ok)
      throw new StoreError(
        `S3_PRESIGN_ACCESS_KEY_ID: the store refuses an upload to ${prefix} by a signed link (${right.status}); ` +
          'docs/storage.md has the policy that the key needs, and PRESIGN_LIFETIME=0 does without such links',
      )
    if ((await send('layover', 'text/html')).ok) return 'the store takes another type than the link says'
    if ((await send('more than that')).ok) return 'the store takes another size than the link says'
    return undefined
  } finally {
    const client = s3Client(connection, { maxSockets: 1, silence: 5000 })
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: prefix + upload.key })).catch(() => {})
    client.destroy()
  }
}
