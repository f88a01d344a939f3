import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release } from 'node:os'
import { join } from 'node:path'
import { isPinned } from './process.ts'
import { isInstalled, lineOf } from './programs.ts'

/** What a run ran on, a line each; nothing by which to find the machine. */
export function machineFacts(): string[] {
  const root = join(import.meta.dirname, '..')
  const commit = lineOf('git', '-C', root, 'rev-parse', '--short', 'HEAD') ?? 'unknown'
  const isChanged = (lineOf('git', '-C', root, 'status', '--porcelain', '-uno') ?? '') !== ''
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const pinned = isPinned
    ? 'the server on one core, the load generator on another (taskset)'
    : 'server and load generator share all cores'
  return [
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}${isChanged ? ' and changes on it' : ''}`,
    `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores; Linux ${release()}; Node ${process.version}`,
    `Fastify ${dependencies.fastify}, @fastify/multipart ${devDependencies['@fastify/multipart']}, @fastify/static ${devDependencies['@fastify/static']}${nginxVersion()}`,
    pinned,
  ]
}

function nginxVersion(): string {
  if (!isInstalled('nginx')) return '; nginx is not installed'
  const version = lineOf('bash', '-c', 'PATH=$PATH:/usr/sbin; nginx -v 2>&1')
  return `; ${version?.split(': ')[1] ?? 'nginx'}`
}
