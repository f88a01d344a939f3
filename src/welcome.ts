import ipaddr from 'ipaddr.js'
import type { Config } from './config.ts'

/** What a first start shows, once: the key that was made and a line to paste, and where the server is if it is running. */
export function firstKeyNotice(
  key: string,
  config: Pick<Config, 'dataDir' | 'publicUrl' | 'port'>,
  url?: string,
): string {
  const address = url ?? config.publicUrl ?? `http://localhost:${config.port}`
  return `${url === undefined ? '' : `\n  Layover is running at ${url}\n`}
  Your API key, shown only this once (${config.dataDir}/keys.json keeps its hash):

      ${key}

  Upload an image:

      curl -H "Authorization: Bearer ${key}" -F file=@photo.jpg ${address}/api/upload

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
