import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
/** Without comments, which may name what the file must not have. */
const code = (path: string) => read(path).replace(/^\s*#.*\n/gm, '')

const dockerfile = code('Dockerfile').replaceAll('\\\n', '')
const compose = code('docker-compose.yml')
const objectstoreEnv = code('docker/objectstore.env')

/** What is said of one service. */
function service(name: string): string {
  const [, text = ''] = new RegExp(`^  ${name}:\\n((?: {4}.*\\n|\\n)+)`, 'm').exec(compose) ?? []
  return text
}

/** The arguments of the last instruction of that name in the Dockerfile. */
function instruction(name: string): string {
  return [...dockerfile.matchAll(new RegExp(`^${name} +(.*)$`, 'gm'))].at(-1)?.[1] ?? ''
}

describe('the image', () => {
  test('starts what npm start starts, with no shell or npm between it and a signal', () => {
    const { start } = JSON.parse(read('package.json')).scripts
    const command: string[] = JSON.parse(instruction('CMD'))
    expect(`exec ${command.join(' ')}`).toBe(start)
    expect(dockerfile).not.toMatch(/^ENTRYPOINT/m)
  })

  test('runs as a user with a number, not root, who owns the data folder', () => {
    const [, user = '0', group = '0'] = /^(\d+):(\d+)$/.exec(instruction('USER')) ?? []
    expect(Number(user)).toBeGreaterThan(0)
    expect(Number(group)).toBeGreaterThan(0)
    expect(dockerfile).toContain(`chown ${user}:${group} ${instruction('VOLUME')}\n`)
  })

  test('holds what is copied into it and nothing else of the clone', () => {
    const copies = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)]
    const copied = copies.flatMap(([, paths = '']) => paths.split(' '))
    expect(copied.filter((path) => !existsSync(join(root, path)))).toEqual([])
    const [first, ...rest] = code('.dockerignore').trim().split('\n')
    expect(first).toBe('*')
    expect(rest.sort()).toEqual(copied.map((path) => `!${path}`).sort())
  })

  test('is healthy as long as the process answers on its port', async () => {
    const [file = '', ...args] = JSON.parse(/ CMD (\[.*\])$/.exec(instruction('HEALTHCHECK'))?.[1] ?? '[]')
    expect(file).toBe('node')
    let status = 200
    const server = createServer(({ url }, response) => {
      response.writeHead(url === '/healthz' ? status : 404).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const check = () =>
      new Promise((resolve) => {
        const env = { ...process.env, PORT: String(port) }
        execFile(process.execPath, args, { env }, (error) => resolve(error?.code ?? 0))
      })
    expect(await check()).toBe(0)
    status = 503
    expect(await check()).toBe(1)
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    expect(await check()).toBe(1)
  })
})

describe('docker-compose.yml', () => {
  test('works with a .env that is a copy of .env.example', () => {
    const layover = service('layover')
    expect(layover).toMatch(/^ {6}HOST: 0\.0\.0\.0$/m)
    const [, port] = /^ {6}PORT: (\d+)$/m.exec(layover) ?? []
    expect(port).toBe(instruction('EXPOSE'))
    expect(layover).toContain(`- \${BIND:-127.0.0.1}:\${PORT:-8080}:${port}\n`)
    const volume = instruction('VOLUME')
    expect(layover).toContain(`DATA_DIR: ${volume}\n`)
    expect(layover).toContain(`- data:${volume}\n`)
    expect(instruction('ENV')).toContain(`DATA_DIR=${volume} HOST=0.0.0.0 PORT=${port}`)
  })

  test('takes no variable that is not written up', () => {
    const rows = read('docs/docker.md').matchAll(/^\| `(BIND|S3_IMAGE)` \|/gm)
    const known = [...Object.keys(parseEnv(read('.env.example'))), ...[...rows].map(([, name]) => name)]
    const used = [...`${compose}${objectstoreEnv}`.matchAll(/\$\{?(\w+)/g)].map(([, name]) => name)
    expect(used.length).toBeGreaterThan(0)
    expect(used.filter((name) => !known.includes(name))).toEqual([])
  })

  test('pins the image of the S3 server by tag and digest', () => {
    expect(service('objectstore')).toMatch(
      /^ {4}image: \$\{S3_IMAGE:-[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}\}$/m,
    )
  })

  test('has no password, and the S3 server does not start without one', () => {
    expect(parseEnv(objectstoreEnv)).toEqual({
      MINIO_ROOT_USER: expect.stringMatching(/^\$\{S3_ACCESS_KEY_ID:\?[^}]+\}$/),
      MINIO_ROOT_PASSWORD: expect.stringMatching(/^\$\{S3_SECRET_ACCESS_KEY:\?[^}]+\}$/),
    })
    expect(service('objectstore')).toContain('env_file: docker/objectstore.env\n')
    const secrets = [...compose.matchAll(/^ +\w*(?:ACCESS_KEY|PASSWORD|SECRET|API_KEYS|USER)\w*: (.*)$/gm)]
    expect(secrets.map(([, value]) => value)).toEqual([
      expect.stringMatching(/^\$\{S3_ACCESS_KEY_ID:-\}$/),
      expect.stringMatching(/^\$\{S3_SECRET_ACCESS_KEY:-\}$/),
    ])
  })

  test('asks for nothing without the profile s3', () => {
    // Compose demands such variables of services that are not started, too.
    expect(compose).not.toMatch(/\$\{\w+:?\?/)
    expect(service('objectstore')).toContain('profiles: [s3]\n')
    expect(service('layover')).not.toContain('profiles:')
    expect(service('layover')).toMatch(/objectstore:\n +condition: service_healthy\n +required: false\n/)
    expect(service('layover')).toMatch(/- path: \.env\n +required: false\n/)
  })

  test('lets the process end by itself before it is killed', () => {
    const [, grace] = /stop_grace_period: (\d+)s/.exec(service('layover')) ?? []
    expect(Number(grace)).toBeGreaterThan(loadConfig({}).stopTimeout + 5)
  })

  test('gives neither service more rights than it needs', () => {
    for (const name of ['layover', 'objectstore'])
      expect(service(name)).toMatch(/cap_drop: \[ALL\]\n +security_opt: \[no-new-privileges:true\]\n/)
    expect(service('layover')).toContain('read_only: true\n')
    expect(service('objectstore')).not.toContain('ports:')
  })
})
