import { readFile } from 'node:fs/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { CommandLineError } from '../../command-line.ts'

/** Where uploads go. */
export interface Target {
  readonly url: URL
  readonly key: string
  readonly agent: HttpAgent
}

export interface TargetOptions {
  /** The server's address, as its PUBLIC_URL. */
  readonly url: string
  readonly keyFile?: string
  /** Seconds. */
  readonly expiresIn?: number
}

/** Throws a `CommandLineError` for an address or a key that makes no sense. */
export async function targetOf(options: TargetOptions): Promise<Target> {
  const url = endpointOf(options.url || 'http://localhost:8080')
  if (options.expiresIn !== undefined) url.searchParams.set('expires_in', String(options.expiresIn))
  const Agent = url.protocol === 'https:' ? HttpsAgent : HttpAgent
  // As `curl` does, but never for this machine itself.
  const isHere = /^(localhost|127\.[\d.]+|\[::1\])$/.test(url.hostname)
  const agent = new Agent({ keepAlive: true, ...(!isHere && { proxyEnv: process.env }) })
  return { url, key: await keyFrom(options.keyFile), agent }
}

function endpointOf(address: string): URL {
  const url = URL.parse(`${address.trim().replace(/\/+$/, '')}/v1/files/uploads`)
  const isPlain = url?.username === '' && url.search === '' && url.hash === ''
  if (!url || !isPlain || !['http:', 'https:'].includes(url.protocol)) {
    // It may hold a password, which is not repeated then.
    const what = /[@?#]/.test(address) ? 'has a user, "?" or "#" in it: it' : `"${address}"`
    throw new CommandLineError(`LAYOVER_URL or --url: ${what} is no address like https://images.example.com`)
  }
  return url
}

async function keyFrom(file: string | undefined): Promise<string> {
  const { LAYOVER_KEY } = process.env
  const key = (file === undefined ? LAYOVER_KEY : await readFile(file, 'utf8'))?.trim()
  const where = file === undefined ? 'LAYOVER_KEY' : `--key-file: ${file}`
  if (!key)
    throw new CommandLineError(
      file === undefined
        ? 'LAYOVER_KEY is not set: the server shows a key at its first start, and "layover keys create" makes one'
        : `${where} is empty`,
    )
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new CommandLineError(`${where} is no key: it has more than one word in it`)
  return key
}
