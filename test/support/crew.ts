import { Agent } from 'node:http'
import type { ServerProcess } from './server.ts'
import { eventually } from './socket.ts'
import { call } from './ways.ts'

/** What a server with WORKERS above 1 has logged, a line an object. */
export function linesOf(server: ServerProcess): Record<string, unknown>[] {
  const lines = server.output().split('\n')
  return lines.filter((line) => line.startsWith('{') && line.endsWith('}')).map((line) => JSON.parse(line))
}

/** The process ids of all workers that have ever served, the first ones first. */
export function workersOf(server: ServerProcess): number[] {
  return linesOf(server)
    .filter(({ msg }) => msg === 'listening')
    .map(({ pid }) => Number(pid))
}

/** Which worker a connection leads to. */
export async function workerBehind(server: ServerProcess, agent: Agent): Promise<number> {
  const { headers } = await call(`${server.url}/healthz`, { agent })
  const line = () => linesOf(server).find(({ reqId }) => reqId === headers['x-request-id'])
  await eventually(() => line() !== undefined)
  return Number(line()?.pid)
}

/** A connection to each of the workers, kept until it is disposed of. */
export async function connections(server: ServerProcess): Promise<Map<number, Agent> & AsyncDisposable> {
  const agents: Agent[] = []
  const found = new Map<number, Agent>()
  for (
    let attempt = 0;
    found.size < workersOf(server).filter(isRunning).length && attempt < 100;
    attempt += 1
  ) {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    agents.push(agent)
    found.set(await workerBehind(server, agent), agent)
  }
  return Object.assign(found, {
    [Symbol.asyncDispose]: async () => {
      for (const agent of agents) agent.destroy()
    },
  })
}

/** Whether a process runs. */
export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
