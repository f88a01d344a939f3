import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pathOf } from '../../bench/programs.ts'
import { eventually } from './socket.ts'
import { toolFolder } from './tool-folder.ts'

const run = promisify(execFile)

/** A real S3 server, and the key that may do everything there. */
export interface S3Access {
  readonly endpoint: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** A user who may do nothing that no bucket's own policy lets them do. */
export interface S3Guest {
  /** As policies name it. */
  readonly principal: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface S3Server extends S3Access {
  /** Where such a user can be made without tools that are not here. */
  readonly guest?: S3Guest
  /** Ends its processes and removes what they stored. */
  stop(): Promise<void>
}

export type S3Kind = keyof typeof kinds

/**
 * Servers that can be started here, on loopback and without containers. `.ci/run` installs both:
 *
 * - `minio`: `go install github.com/minio/minio@latest`, on the path or in `~/.cache/layover-tests`.
 * - `rgw`: Debian's `radosgw`, `ceph-mon` and `ceph-osd`.
 */
const kinds = {
  minio: { programs: ['minio'], start: startMinio },
  rgw: {
    programs: ['radosgw', 'radosgw-admin', 'ceph-mon', 'ceph-osd', 'ceph-authtool', 'monmaptool'],
    start: startRgw,
  },
} as const

/** The kinds of which every program is there. */
export function installedS3(): S3Kind[] {
  return (Object.keys(kinds) as S3Kind[]).filter((kind) => kinds[kind].programs.every(find))
}

export async function startS3(kind: S3Kind): Promise<S3Server> {
  return kinds[kind].start()
}

function find(program: string): string | undefined {
  return pathOf(program, [toolFolder])
}

async function startMinio(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), 'layover-minio-'))
  const key = newKey()
  const [port, consolePort] = await freePorts(2)
  const env = { MINIO_ROOT_USER: key.accessKeyId, MINIO_ROOT_PASSWORD: key.secretAccessKey }
  // Neither looks for a newer version of itself nor says that it runs.
  const quiet = { MINIO_UPDATE: 'off', MINIO_CALLHOME_ENABLE: 'off', MINIO_BROWSER: 'off' }
  const addresses = [`--address=127.0.0.1:${port}`, `--console-address=127.0.0.1:${consolePort}`]
  const server = daemon('minio', ['server', ...addresses, join(folder, 'data')], { ...env, ...quiet })
  const endpoint = `http://127.0.0.1:${port}`
  return whenReady({ endpoint, path: '/minio/health/ready', key, folder, daemons: [server] })
}

/** One monitor, one object store in memory and one gateway. */
async function startRgw(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), 'layover-rgw-'))
  const key = newKey()
  const [port, monitorV2, monitorV1] = await freePorts(3)
  const monitor = `[v2:127.0.0.1:${monitorV2}/0,v1:127.0.0.1:${monitorV1}/0]`
  const conf = join(folder, 'ceph.conf')
  const keyring = join(folder, 'keyring')
  for (const name of ['mon', 'osd', 'rgw']) await mkdir(join(folder, name))
  await writeFile(conf, cephConf({ folder, keyring, monitor, port: port ?? 0 }))

  const tool = (program: string, ...args: string[]) => run(find(program) ?? program, args)
  const everything = ['mon', 'osd', 'mgr'].flatMap((service) => ['--cap', service, 'allow *'])
  await tool(
    'ceph-authtool',
    '--create-keyring',
    '--gen-key',
    '--name=mon.',
    keyring,
    '--cap',
    'mon',
    'allow *',
  )
  for (const name of ['client.admin', 'client.rgw', 'osd.0'])
    await tool('ceph-authtool', '--gen-key', `--name=${name}`, keyring, ...everything)
  const map = join(folder, 'monmap')
  const cluster = ['--create', '--clobber', '--fsid', randomUUID()]
  await tool('monmaptool', ...cluster, '--addv', 'a', monitor, map)
  await tool('ceph-mon', '-c', conf, '--mkfs', '-i', 'a', '--monmap', map, '--keyring', keyring)
  const daemons: ChildProcess[] = []
  try {
    daemons.push(daemon('ceph-mon', ['-f', '-c', conf, '-i', 'a']))
    await tool('ceph-osd', '-c', conf, '-i', '0', '--mkfs', '--osd-uuid', randomUUID())
    daemons.push(daemon('ceph-osd', ['-f', '-c', conf, '-i', '0']))
    daemons.push(daemon('radosgw', ['-f', '-c', conf, '-n', 'client.rgw']))
    const server = await whenReady({ endpoint: `http://127.0.0.1:${port}`, path: '/', key, folder, daemons })
    const guest = newKey()
    for (const [name, { accessKeyId, secretAccessKey }] of Object.entries({ layover: key, guest })) {
      const user = ['user', 'create', `--uid=${name}`, `--display-name=${name}`]
      const keys = [`--access-key=${accessKeyId}`, `--secret-key=${secretAccessKey}`]
      await tool('radosgw-admin', '-c', conf, '-n', 'client.admin', ...user, ...keys)
    }
    return { ...server, guest: { ...guest, principal: 'arn:aws:iam:::user/guest' } }
  } catch (error) {
    await stopAll(daemons, folder)
    throw error
  }
}

function cephConf({ folder, keyring, monitor, port }: CephOptions): string {
  return `[global]
mon host = ${monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
# Without keys the gateway never comes up.
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = ${keyring}
run dir = ${folder}
crash dir = ${folder}
pid file = ${folder}/$name.pid
admin socket = ${folder}/$name.asok
log file = ${folder}/$name.log
mon cluster log file = ${folder}/cluster.log
# One copy of everything is enough.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
[mon.a]
mon data = ${folder}/mon
[osd.0]
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:${port}
rgw data = ${folder}/rgw
`
}

interface CephOptions {
  readonly folder: string
  readonly keyring: string
  readonly monitor: string
  readonly port: number
}

interface Starting {
  readonly endpoint: string
  /** Answers 200 when all is up. */
  readonly path: string
  readonly key: Omit<S3Access, 'endpoint'>
  readonly folder: string
  readonly daemons: readonly ChildProcess[]
}

async function whenReady({ endpoint, path, key, folder, daemons }: Starting): Promise<S3Server> {
  const stop = () => stopAll(daemons, folder)
  const isUp = () =>
    fetch(endpoint + path).then(
      ({ status }) => status === 200,
      () => false,
    )
  try {
    await eventually(isUp, 90_000)
  } catch (cause) {
    await stop()
    throw new Error(`the S3 server at ${endpoint} does not come up`, { cause })
  }
  return { endpoint, ...key, stop }
}

async function stopAll(daemons: readonly ChildProcess[], folder: string): Promise<void> {
  for (const child of [...daemons].reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await rm(folder, { recursive: true, force: true })
}

function daemon(program: string, args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const { PATH, HOME } = process.env
  return spawn(find(program) ?? program, args, { stdio: 'ignore', env: { PATH, HOME, ...env } })
}

function newKey() {
  return {
    accessKeyId: `test${randomBytes(8).toString('hex')}`,
    secretAccessKey: randomBytes(20).toString('hex'),
  }
}

/** Ports that nobody uses at the moment. */
export async function freePorts(count: number): Promise<number[]> {
  const holders = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(holders.map((holder) => once(holder, 'listening')))
  const ports = holders.map((holder) => (holder.address() as AddressInfo).port)
  await Promise.all(holders.map((holder) => new Promise((resolve) => holder.close(resolve))))
  return ports
}
