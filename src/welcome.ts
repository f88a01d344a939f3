import ipaddr from 'ipaddr.js'
import { type Config, ConfigError } from './config.ts'
import type { Listener } from './metrics/listener.ts'
import type { Samples } from './metrics/merge.ts'
import type { Parts } from './parts.ts'

/**
 * Says what a start has to say, once it serves: the first key, whether models can reach it, where its metrics are, and that it is ready.
 * Rejects as the start does, having shown the key all the same, as there is no second time. `others` collects what else there is to
 * tell when the metrics are read.
 */
export async function welcome<T extends { readonly url: string }>(
  { config, keyring, log, metrics }: Parts,
  starting: Promise<T>,
  others?: () => Promise<Samples[]>,
): Promise<{ server: T; listener: Listener | undefined }> {
  const showKey = (url?: string) =>
    keyring.firstKey && process.stdout.write(firstKeyNotice(keyring.firstKey, config, url))
  const server = await starting.catch((error) => {
    showKey()
    throw error
  })
  const { url } = server
  showKey(url)
  const [base, variable] = config.s3PublicUrl ? [config.s3PublicUrl, 'S3_PUBLIC_URL'] : [url, 'PUBLIC_URL']
  const reason = unreachableBecause(base)
  const { upstreamUrl, images } = config.vision
  const unless = upstreamUrl && images === 'inline' ? ', unless calls go by way of this server' : ''
  if (reason)
    log.warn(
      { url: base },
      `no model can fetch images from here: ${reason}; set ${variable} to your public address${unless}`,
    )
  const listener = await (config.metricsAddress && metrics?.listen(config.metricsAddress, others))?.catch(
    explainMetrics,
  )
  if (listener) log.info({ url: listener.url }, 'metrics')
  const workers = config.workers > 1 && { workers: config.workers }
  log.info({ url, store: config.store, ...workers }, 'ready')
  return { server, listener }
}

function explainMetrics({ code }: NodeJS.ErrnoException): never {
  throw new ConfigError(`METRICS_ADDRESS: cannot be listened on (${code}); set another`)
}

/**
 * What a first start shows, once: the key that was made, and if it runs, where, and a line to paste. If it does not, no address is named:
 * another program may be there, which is not to be sent the key.
 */
export function firstKeyNotice(key: string, config: Pick<Config, 'dataDir' | 'page'>, url?: string): string {
  const keyAlone = `
  Your API key, shown only this once (${config.dataDir}/keys.json keeps its hash):

      ${key}

`
  if (url === undefined) return keyAlone
  const inBrowser = config.page === 'on' ? ` in a browser, at ${url}/, or from here` : ''
  return `
  Layover is running at ${url}
${keyAlone}  Upload an image of yours${inBrowser}:

      curl -H "Authorization: Bearer ${key}" -F file=@photo.jpg ${url}/api/upload

`
}

/** Why no model's servers could fetch from this address, if there is a reason to think so. */
export function unreachableBecause(address: string): string | undefined {
  const { hostname, protocol } = new URL(address)
  const host = hostname.replace(/^\[|\]$|\.$/g, '')
  if (host === 'localhost' || host.endsWith('.localhost')) return '"localhost" is only this machine'
  const isAddress = ipaddr.isValid(host)
  if (isAddress && ipaddr.process(host).range() !== 'unicast') return `${host} is not a public address`
  const isLocalName = !host.includes('.') || /\.(local|internal|lan|home|test|invalid|home\.arpa)$/.test(host)
  if (!isAddress && isLocalName) return `"${host}" is not a public name`
  return protocol === 'http:' ? 'most of them only fetch https' : undefined
}
