import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathOf } from '../../bench/programs.ts'
import { eventually } from './socket.ts'

const program = pathOf('nginx')

/** Whether nginx is installed. If not, says so for all to see; in CI, throws. */
export function hasNginx(): boolean {
  if (program !== undefined) return true
  if (process.env.CI) throw new Error('nginx is needed: apt-get install nginx-light')
  console.warn('\n*** NOT TESTED THROUGH NGINX: nginx is not installed. ***\n')
  return false
}

/** An nginx with no more than it takes to pass everything on, as most have one. */
export interface Nginx extends AsyncDisposable {
  readonly url: string
}

const TEMP_PATHS = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

export async function startNginx(to: string): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'layover-nginx-'))
  const port = await freePort()
  const conf = join(folder, 'nginx.conf')
  await writeFile(
    conf,
    `daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
events { worker_connections 256; }
http {
  access_log off;
${TEMP_PATHS.map((name) => `  ${name}_temp_path ${folder}/${name};`).join('\n')}
  server {
    listen 127.0.0.1:${port};
    client_max_body_size 25m;
    location / {
      proxy_pass ${to};
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`,
  )
  const command = [program ?? 'nginx', '-c', conf, '-e', join(folder, 'error.log')] as const
  const child = spawn(command[0], command.slice(1), { stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}`
  const answers = () =>
    fetch(`${url}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    )
  await eventually(answers)
  return {
    url,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      // Killed, the master would leave its worker behind.
      child.kill('SIGTERM')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  await new Promise((resolve) => holder.close(resolve))
  return port
}
