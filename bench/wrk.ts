import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { onLoadCore } from './process.ts'

/** What wrk sends, again and again. */
export interface Requests {
  readonly method: string
  /** Asked for in turn; a single one is formatted once for all, which costs the generator least. */
  readonly paths: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  /** File that holds the body. */
  readonly bodyFile?: string
  /** Whether a number is appended to the path, another one each time. */
  readonly isNumbered?: boolean
}

export interface Load {
  readonly url: string
  /** As `writeScript` made it. */
  readonly script: string
  readonly connections: number
  /** Whole ones. */
  readonly seconds: number
  /** From 0 to 1: where in the paths it begins. */
  readonly offset?: number
}

export interface LoadResult {
  /** Answered. */
  readonly requests: number
  readonly seconds: number
  /** Of the answers, headers included. */
  readonly bytes: number
  readonly p99Ms: number
  /** CPU time of wrk by the time that passed: at 1 it has no more to give. */
  readonly generatorShare: number
  /** What went wrong, in words; empty if nothing. */
  readonly faults: string
}

/** Runs wrk with one thread, from which a second core could take nothing over on the machines this is for. */
export async function runWrk({ url, script, connections, seconds, offset = 0 }: Load): Promise<LoadResult> {
  const wrk = ['wrk', '-t1', `-c${connections}`, `-d${seconds}`, '--timeout=60', '-s', script, url]
  const timed = ['-c', 'TIMEFORMAT="CPU %U %S"; time "$@"', 'bash', ...onLoadCore, ...wrk]
  const run = promisify(execFile)('bash', timed, { env: { ...process.env, OFFSET: String(offset) } })
  const { stdout, stderr } = await run
  const [requests = 0, microseconds = 0, bytes = 0, p99 = 0, ...errors] = numbersAfter('RESULT', stdout)
  const cpu = numbersAfter('CPU', stderr).reduce((sum, value) => sum + value, 0)
  const passed = microseconds / 1e6
  return {
    requests,
    seconds: passed,
    bytes,
    p99Ms: p99 / 1000,
    generatorShare: cpu / passed,
    faults: faultsOf(requests, errors),
  }
}

const KINDS = [
  'failed to connect',
  'failed to read',
  'failed to write',
  'refused (status above 399)',
  'timed out',
]

function faultsOf(requests: number, errors: readonly number[]): string {
  const faults = errors.flatMap((count, i) => (count > 0 ? [`${count} ${KINDS[i]}`] : []))
  return [...(requests === 0 ? ['no request was answered'] : []), ...faults].join(', ')
}

function numbersAfter(word: string, text: string): number[] {
  const line = text.split('\n').find((line) => line.startsWith(`${word} `)) ?? ''
  return line.split(' ').slice(1).map(Number)
}

/** Writes the Lua of some requests, and answers with its path. Bodies and paths are made before the first request. */
export async function writeScript(folder: string, name: string, requests: Requests): Promise<string> {
  const path = join(folder, `${name}.lua`)
  const pathList = `${path}.paths`
  await writeFile(pathList, requests.paths.join('\n'))
  const isPlain = requests.paths.length === 1 && !requests.isNumbered
  await writeFile(path, luaOf(requests, pathList, isPlain))
  return path
}

function luaOf({ method, paths, headers, bodyFile, isNumbered }: Requests, list: string, isPlain: boolean) {
  const next = isNumbered
    ? `function request()
  count = count + 1
  return wrk.format(nil, ${lua(paths[0] ?? '/')} .. count)
end`
    : `local requests = {}
function init()
  for line in io.lines(${lua(list)}) do requests[#requests + 1] = wrk.format(nil, line) end
  count = math.floor(#requests * tonumber(os.getenv("OFFSET")))
end
function request()
  count = count % #requests + 1
  return requests[count]
end`
  return `local count = 0
wrk.method = ${lua(method)}
wrk.path = ${lua(paths[0] ?? '/')}
${Object.entries(headers)
  .map(([name, value]) => `wrk.headers[${lua(name)}] = ${lua(value)}`)
  .join('\n')}
${bodyFile === undefined ? '' : `local file = assert(io.open(${lua(bodyFile)}, "rb")); wrk.body = file:read("*a"); file:close()`}
${isPlain ? '' : next}
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.duration, summary.bytes,
    latency:percentile(99), errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
`
}

/** A string in Lua, of characters that its escapes have in common with JSON's. */
const lua = (text: string) => JSON.stringify(text)
