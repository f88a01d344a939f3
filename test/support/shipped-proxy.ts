import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { isInstalled, pathOf } from '../../bench/programs.ts'
import { selfSigned } from './certificate.ts'
import { eventually, openSocket } from './socket.ts'

/** Debian's nginx or Caddy on loopback, with the file of `deploy/` as it is shipped, but for what an operator changes. */
export interface ShippedProxy extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** In PEM: the certificate, and a file that has it. */
  readonly cert: string
  readonly certFile: string
  /** All that it has written of requests and of errors. */
  log(): Promise<string>
  /** What it keeps of bodies in its own folder. */
  kept(): Promise<string[]>
}

export interface ShippedOptions {
  /** The port at which it listens. */
  readonly port: number
  /** The port of loopback that it passes requests on to. */
  readonly to: number
  /** What an operator changes more, each of which must be there. */
  readonly change?: Readonly<Record<string, string>>
}

export type ProxyKind = keyof typeof kinds

const kinds = {
  nginx: { program: 'nginx', file: 'nginx.conf', prepare: prepareNginx },
  caddy: { program: 'caddy', file: 'Caddyfile', prepare: prepareCaddy },
} as const

/** The proxies that can be started here. Says loudly which cannot, and throws with REQUIRE_PROXIES. */
export function installedProxies(): ProxyKind[] {
  const all = Object.keys(kinds) as ProxyKind[]
  const missing = all.filter((kind) => !isInstalled(kinds[kind].program))
  if (missing.length === 0) return all
  if (process.env.REQUIRE_PROXIES) throw new Error(`REQUIRE_PROXIES needs ${missing.join(' and ')}`)
  console.warn(`\n*** NOT TESTED BEHIND ${missing.join(', ').toUpperCase()}: not installed. ***\n`)
  return all.filter((kind) => !missing.includes(kind))
}

/** The text of a file of `deploy/`. */
export const shipped = (file: string) => readFile(join(import.meta.dirname, '../../deploy', file), 'utf8')

/** Starts it, once its own check of the file has found nothing to say. */
export async function startShipped(kind: ProxyKind, options: ShippedOptions): Promise<ShippedProxy> {
  const { file, prepare, program } = kinds[kind]
  const folder = await mkdtemp(join(tmpdir(), `layover-${kind}-`))
  const { key, cert } = selfSigned('localhost')
  const certFile = join(folder, 'cert.pem')
  await writeFile(certFile, cert)
  await writeFile(join(folder, 'key.pem'), key)
  await mkdir(join(folder, 'kept'))
  const command = pathOf(program) ?? program
  const { args, check } = await prepare({ ...options, folder, text: await shipped(file) })
  const env = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const { stdout, stderr } = await promisify(execFile)(command, check, { env })
  if (/\[warn\]|not formatted/.test(stdout + stderr))
    throw new Error(`${kind} does not like ${file}: ${stdout}${stderr}`)
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => (said += piece))
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`${kind} did not start: ${said}`)
    return openSocket(options.port).then(
      (socket) => socket.destroy() !== undefined,
      () => false,
    )
  })
  const logs = async () => (await readdir(folder)).filter((name) => name.endsWith('.log'))
  return {
    url: `https://localhost:${options.port}`,
    port: options.port,
    cert,
    certFile,
    async log() {
      const texts = (await logs()).map((name) => readFile(join(folder, name), 'utf8'))
      return (await Promise.all(texts)).join('') + said
    },
    kept: async () => {
      const entries = await readdir(join(folder, 'kept'), { recursive: true, withFileTypes: true })
      return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
    },
    async [Symbol.asyncDispose]() {
      await end(child)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

interface Preparation extends ShippedOptions {
  readonly folder: string
  readonly text: string
}

async function prepareNginx({ folder, port, to, text, change }: Preparation) {
  const site = changed(text, {
    'listen 443 ssl;': `listen 127.0.0.1:${port} ssl;`,
    'listen [::]:443 ssl;': '',
    'images.example.com;': 'localhost;',
    'server 127.0.0.1:8080;': `server 127.0.0.1:${to};`,
    '/etc/letsencrypt/live/images.example.com/fullchain.pem': join(folder, 'cert.pem'),
    '/etc/letsencrypt/live/images.example.com/privkey.pem': join(folder, 'key.pem'),
    '/var/log/nginx/layover.log': join(folder, 'access.log'),
    '/var/log/nginx/layover-error.log': join(folder, 'error.log'),
    ...change,
  })
  await writeFile(join(folder, 'layover.conf'), site)
  const kept = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/kept/${name};`,
  )
  const start = join(folder, 'start.log')
  // One process, which is easy to end, and whose log is ours from the first line on.
  const main = `daemon off; master_process off; pid ${folder}/pid; error_log ${start};
    events {} http { access_log off; ${kept.join(' ')} include ${folder}/layover.conf; }`
  await writeFile(join(folder, 'nginx.conf'), main)
  const args = ['-p', folder, '-e', start, '-c', join(folder, 'nginx.conf')]
  return { args, check: ['-t', ...args] }
}

async function prepareCaddy({ folder, port, to, text, change }: Preparation) {
  const site = changed(text, {
    // Its port for changes while it runs, which others on this machine may use.
    '\n{\n': '\n{\n\tadmin off\n',
    'images.example.com {': `https://localhost:${port} {\n\tbind 127.0.0.1\n\ttls ${folder}/cert.pem ${folder}/key.pem`,
    'reverse_proxy 127.0.0.1:8080': `reverse_proxy 127.0.0.1:${to}`,
    ...change,
  })
  await writeFile(join(folder, 'Caddyfile'), site)
  const args = ['--config', join(folder, 'Caddyfile'), '--adapter', 'caddyfile']
  return { args: ['run', ...args], check: ['adapt', '--validate', ...args] }
}

function changed(text: string, changes: Readonly<Record<string, string>>): string {
  return Object.entries(changes).reduce((result, [from, to]) => {
    if (!result.includes(from)) throw new Error(`the shipped file has no ${from}`)
    return result.replaceAll(from, () => to)
  }, text)
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'close')
}
