import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { buildApp } from '../../src/app.ts'
import { type Config, loadConfig } from '../../src/config.ts'
import { openOutputBudget } from '../../src/core/output-budget.ts'
import type { Network } from '../../src/intake/remote/network.ts'
import { openKeyring } from '../../src/keys.ts'
import { openReceipts } from '../../src/open-receipts.ts'
import { openIncomingArea, openStore, withCache } from '../../src/open-store.ts'
import { openUsage } from '../../src/open-usage.ts'
import { openSpool } from '../../src/spool.ts'
import type { IncomingArea, Store } from '../../src/store/store.ts'
import type { Usage } from '../../src/usage/usage.ts'
import { placeOf } from './place.ts'

export const apiKey = 'test-key-of-24-characters'
export const authorization = `Bearer ${apiKey}`

/** A server inside the test's process, on a real socket and a real folder. */
export interface TestApp extends AsyncDisposable {
  readonly port: number
  readonly url: string
  readonly store: Store
  readonly area: IncomingArea | undefined
  readonly usage: Usage
  readonly config: Config
  readonly server: import('node:http').Server
  /** All that it serves, as `GET /healthz`. */
  routes(): string[]
  /** Names of all images and temp files. */
  files(): Promise<string[]>
  /** Resolves when it has stopped, and all that was under way has ended. */
  stop(): Promise<void>
}

export interface TestAppOptions {
  /** Environment variables. */
  readonly env?: Record<string, string>
  /** Start on an older folder, which is then left. */
  readonly dataDir?: string
  readonly now?: () => number
  /** Stands between the app and its store, to make it fail. */
  readonly wrap?: (store: Store) => Store
  /** The way to other servers, instead of the machine's. */
  readonly network?: Network
  /** Receives each log line. */
  readonly onLog?: (line: string) => void
}

export async function startApp({
  env = {},
  dataDir,
  now,
  wrap,
  network,
  onLog,
}: TestAppOptions = {}): Promise<TestApp> {
  const dir = dataDir ?? (await mkdtemp(join(tmpdir(), 'layover-')))
  const place = placeOf(dir)
  const config: Config = loadConfig({
    ...place.env,
    DATA_DIR: dir,
    API_KEYS: `tester:${apiKey}`,
    MIN_FREE_SPACE: '0',
    MAX_MEMORY: '0',
    ...env,
  })
  const spool = await openSpool({ dir: join(dir, 'tmp'), minFree: config.minFreeSpace, maxAge: 3600 })
  const budget = openOutputBudget(config)
  const opened = await openStore({ config, spool, budget, onNote: () => {} })
  const store = withCache(wrap ? wrap(opened) : opened, config)
  const area = await openIncomingArea({ config, spool, onNote: () => {} })
  const usage = await openUsage(config)
  const log = onLog ? pino({ level: 'trace' }, { write: onLog }) : pino({ level: 'silent' })
  const receipts = await openReceipts(config, log)
  const app = await buildApp({
    config,
    store,
    budget,
    area,
    spool,
    usage,
    receipts,
    keyring: await openKeyring(config, now ? { now } : {}),
    secret: Buffer.alloc(32, 7),
    log,
    ...(now && { now }),
    ...(network && { network }),
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    store,
    area,
    usage,
    config,
    server: app.server,
    routes: () => routesIn(app.printRoutes({ commonPrefix: false })),
    files: place.files,
    stop: () => app.close(),
    async [Symbol.asyncDispose]() {
      app.server.closeAllConnections()
      await app.close()
      await store.close()
      await area?.store.close()
      await usage.close()
      await receipts?.close()
      if (dataDir === undefined) await rm(dir, { recursive: true })
    },
  }
}

/** Reads the tree that Fastify prints, in which each line says what its path adds to that of the line it hangs on. */
function routesIn(tree: string): string[] {
  const above: string[] = []
  return tree.split('\n').flatMap((line) => {
    const [, indent = '', part = '', methods = ''] = /^([│ ]*)[├└]── (\S*)(?: \((.*)\))?$/.exec(line) ?? []
    const depth = indent.length / 4
    above.length = depth
    above.push(part)
    const path = above.join('')
    return methods === '' ? [] : methods.split(', ').map((method) => `${method} ${path}`)
  })
}
