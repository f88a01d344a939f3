import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { endSoon, type Output } from '../command-line.ts'
import { type Config, ConfigError, loadConfig, readDotEnv } from '../config.ts'
import { becomeOwnerOf } from '../data-owner.ts'
import { openIncomingArea, openStore } from '../open-store.ts'
import { isLeftover } from '../presign/times.ts'
import { openSpool, tempAge } from '../spool.ts'
import { type SweepResult, sweep } from '../sweeper.ts'
import { sizeText } from '../units.ts'
import { stopOnSignals } from './signals.ts'

/**
 * `layover sweep`: one pass of expiry over the configured store, whether a server runs on it or not. Resolves with the exit code; rejects with
 * what to do if the store cannot be used or listed.
 */
export async function sweepOnce({ json = false }: { json?: boolean }, output: Output): Promise<number> {
  readDotEnv()
  const config = loadConfig()
  if (config.store === 'memory')
    throw new ConfigError('STORE=memory: the images are in the server’s own memory, where only it can sweep')
  using stopping = stopOnSignals()
  let faults = 0
  const onError = (error: unknown) => {
    faults += 1
    output.note(`${(error as Error).message}\n`)
  }
  const result = await sweepStore(config, { onError, signal: stopping.signal })
  output.result(json ? `${JSON.stringify(result)}\n` : textOf(result))
  // What is left of connections is of no use any more.
  endSoon()
  return stopping.exitCode ?? (faults > 0 ? 1 : 0)
}

interface Pass {
  readonly onError: (error: unknown) => void
  readonly signal: AbortSignal
}

async function sweepStore(config: Config, { onError, signal }: Pass): Promise<SweepResult> {
  const { dataDir } = config
  await stat(dataDir).catch((error) => refuseMissing(error, dataDir))
  await becomeOwnerOf(dataDir)
  const dir = join(dataDir, 'tmp')
  const spool = await openSpool({ dir, minFree: 0, maxAge: tempAge(config), isGuest: true })
  // What an operator may want to change, the server says at its start.
  const onNote = () => {}
  const store = await openStore({ config, spool, onNote, leaveRules: true })
  const area = await openIncomingArea({ config, spool, onNote, leaveRules: true })
  const isOver = (key: string, now: number) => isLeftover(key, config, now)
  const incoming = area && { store: area.store, isOver }
  try {
    return await sweep({ store, incoming, spool, now: Date.now(), onError, signal })
  } finally {
    await Promise.all([store.close(), area?.store.close()])
  }
}

/** A folder that a sweep makes would be empty, and perhaps not the server's to write. */
function refuseMissing(error: NodeJS.ErrnoException, dataDir: string): never {
  if (error.code !== 'ENOENT') throw error
  throw new ConfigError(
    `DATA_DIR: ${dataDir} is missing: set it to the server’s, or sweep where the server runs`,
  )
}

function textOf({ deleted, bytes, failed, leftovers, tempFiles }: SweepResult): string {
  const removed = [
    `${counted(deleted, 'expired image')} (${sizeText(bytes)})`,
    counted(leftovers, 'unfinished upload by link', 'unfinished uploads by link'),
    counted(tempFiles, 'stale temp file'),
  ]
  const left = failed === 0 ? '' : `; not removed: ${counted(failed, 'expired image')}, for the next sweep`
  return `removed: ${removed.join(', ')}${left}\n`
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
