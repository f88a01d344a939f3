import { connect } from 'node:net'

/**
 * HEAD requests, each connection with one after the other: wrk waits for the body that the answer's length announces.
 * `node head-clients.ts <JSON of HeadClients>` prints JSON of `HeadResult`.
 */
export interface HeadClients {
  readonly port: number
  readonly path: string
  readonly connections: number
  readonly seconds: number
}

export interface HeadResult {
  readonly requests: number
  readonly seconds: number
  readonly bytes: number
  readonly p99Ms: number
  /** CPU time of this process by the time that passed. */
  readonly generatorShare: number
  /** Answers with another status than 200, and connections that broke. */
  readonly refused: number
}

const { port, path, connections, seconds }: HeadClients = JSON.parse(process.argv[2] ?? '')
const head = `HEAD ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`
const times: number[] = []
let [bytes, refused] = [0, 0]

/** Resolves when the connection has been closed at the end. */
function askUntil(end: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    let [begun, answer] = [performance.now(), '']
    const ask = () => {
      begun = performance.now()
      answer = ''
      socket.write(head)
    }
    socket.setNoDelay().setEncoding('latin1').once('connect', ask)
    socket.on('data', (chunk: string) => {
      bytes += chunk.length
      answer += chunk
      if (!answer.endsWith('\r\n\r\n')) return
      const now = performance.now()
      times.push(now - begun)
      if (!answer.startsWith('HTTP/1.1 200 ')) refused += 1
      if (now < end) ask()
      else socket.destroy()
    })
    socket.on('error', () => {
      refused += 1
    })
    socket.on('close', () => resolve())
  })
}

const begun = performance.now()
const before = process.cpuUsage()
const end = begun + seconds * 1000
await Promise.all(Array.from({ length: connections }, () => askUntil(end)))
const passed = (performance.now() - begun) / 1000
const { user, system } = process.cpuUsage(before)
const result: HeadResult = {
  requests: times.length,
  seconds: passed,
  bytes,
  p99Ms: times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.NaN,
  generatorShare: (user + system) / 1e6 / passed,
  refused,
}
process.stdout.write(`${JSON.stringify(result)}\n`)
