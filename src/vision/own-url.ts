import type { Config } from '../config.ts'
import { isBelow } from '../intake/remote/target.ts'
import { type ImageName, parseName } from '../name.ts'
import type { Deps } from '../routes/deps.ts'

export interface OwnUrls extends Pick<Deps, 'urlOf' | 'ownUrlOf'> {
  readonly config: Pick<Config, 'uploadPath'>
  /** This server's public address, without a trailing slash. */
  readonly base: () => string
}

/**
 * The image of this server that a URL leads to; undefined for one of somebody else's. `unknown` for what stands where our images are and
 * is none that we gave out. Neither the scheme counts nor the query, which serving does not look at either.
 */
export function ownImageAt(
  url: URL,
  { urlOf, ownUrlOf, config, base }: OwnUrls,
): ImageName | 'unknown' | undefined {
  const name = parseName(url.pathname.slice(url.pathname.lastIndexOf('/') + 1))
  if (name && [urlOf(name), ownUrlOf(name)].some((own) => isSame(new URL(own), url))) return name
  return isBelow(url, [`${base()}${config.uploadPath}`]) ? 'unknown' : undefined
}

function isSame(own: URL, url: URL): boolean {
  return own.host === url.host && own.pathname === url.pathname
}
