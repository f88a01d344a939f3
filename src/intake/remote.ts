import type { FastifyRequest } from 'fastify'
import manifest from '../../package.json' with { type: 'json' }
import type { Config } from '../config.ts'
import { Problem, problem, problemWith } from '../errors.ts'
import { readCopy } from './copy.ts'
import type { Incoming } from './incoming.ts'
import { optionsAmong, readJson } from './json-body.ts'
import { readOptions } from './options.ts'
import type { Network } from './remote/network.ts'

/** What a right body looks like, for those who sent another. */
const EXAMPLE = '{"url":"https://example.com/photo.jpg"}'

/** An `onRequest` hook that refuses everybody where nothing is to be fetched. */
export function refuseUnlessFetching({ urlFetch }: Config) {
  return async (): Promise<void> => {
    if (!urlFetch.isOn) throw problem('url_fetch_off')
  }
}

export interface RemoteOptions {
  readonly config: Config
  readonly network: Network
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal
}

/**
 * Reads a JSON object whose member `url` says where the image is. It is fetched as `body` is read, and the options have been
 * checked before. Rejects with a `Problem`.
 */
export async function readRemote(
  request: FastifyRequest,
  { config, network, signal }: RemoteOptions,
): Promise<Incoming> {
  const members = await readJson(request, EXAMPLE)
  const fields = optionsAmong(members)
  readOptions(request, fields, config)
  readCopy(request, fields)
  const { url } = members
  if (typeof url !== 'string') throw problem('url_invalid', { reason: 'it is missing or no text' })
  return { body: await openRemote(url, { config, network, signal }), fields }
}

/**
 * What is at a URL, fetched as it is read: of a public address, within the limits that are set for that. Fails with a `Problem`, or with the
 * signal's reason.
 */
export async function openRemote(
  url: string,
  { config, network, signal }: RemoteOptions,
): Promise<AsyncIterable<Buffer>> {
  // Its library takes a tenth of the time that a start takes.
  const { fetchImage } = await import('./remote/fetch-image.ts')
  return fetchImage(url, {
    ...{ network, signal },
    allow: config.urlFetch.allow,
    own: ownAddresses(config),
    userAgent: userAgentOf(config),
    maxFileSize: config.maxFileSize,
    totalTime: config.urlFetch.timeout * 1000,
  })
}

/** Says of what was fetched and is no image that it came from a URL, where the reason is another than with an upload. */
export function explainRemote(error: unknown): never {
  const isNoImage = error instanceof Problem && ['format_unsupported', 'file_empty'].includes(error.code)
  throw isNoImage ? problemWith('url_not_an_image', { cause: error }) : error
}

/** Where this server's own images are, as clients know them and as it does. */
function ownAddresses({ publicUrl, s3PublicUrl, store, s3 }: Config): string[] {
  const bucket = store === 's3' && s3.endpoint !== undefined ? `${s3.endpoint}/${s3.bucket}` : undefined
  return [publicUrl, s3PublicUrl, bucket].filter((address) => address !== undefined)
}

/** Names the program, and where whoever wonders about its requests can look. */
function userAgentOf({ publicUrl }: Config): string {
  return `Layover/${manifest.version}${publicUrl === undefined ? '' : ` (+${publicUrl})`}`
}
