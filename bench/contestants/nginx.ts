import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { end, launch, onServerCore } from '../process.ts'
import { pathOf } from '../programs.ts'
import { type Contestant, type Ground, NGINX } from './contestant.ts'
import { imageAlone } from './node.ts'

/** Starts one worker of nginx: static files by sendfile, and PUT by its dav module, which syncs nothing. */
export async function startNginx({ base, gallery }: Ground): Promise<Contestant> {
  const folder = join(base, 'nginx')
  const uploads = join(folder, 'put')
  await mkdir(uploads, { recursive: true })
  const port = await freePort()
  const conf = join(folder, 'nginx.conf')
  await writeFile(conf, confOf({ folder, gallery, port }))
  const command = [pathOf('nginx') ?? 'nginx', '-c', conf, '-e', join(folder, 'error.log')]
  const child = launch([...onServerCore, ...command])
  const url = `http://127.0.0.1:${port}`
  for (let waited = 0; !(await answers(url)); waited += 20) {
    if (child.exitCode !== null || waited > 5000) throw new Error('nginx does not start')
    await sleep(20)
  }
  return {
    name: NGINX,
    url,
    pid: child.pid ?? 0,
    upload: {
      ...imageAlone(uploads),
      method: 'PUT',
      path: '/put/',
      isNumbered: true,
    },
    pathOf: ({ text }) => `/uploads/${text}`,
    // Killed, the master would leave its worker behind.
    [Symbol.asyncDispose]: () => end(child, 'SIGTERM'),
  }
}

const TEMP_PATHS = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

function confOf({ folder, gallery, port }: { folder: string; gallery: string; port: number }): string {
  return `daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  # Not a new connection every so many requests, as the others keep theirs.
  keepalive_requests 100000000;
  client_max_body_size 0;
${TEMP_PATHS.map((name) => `  ${name}_temp_path ${folder}/${name};`).join('\n')}
  types { image/png png; }
  server {
    listen 127.0.0.1:${port};
    root ${folder};
    location /uploads/ { alias ${gallery}/; }
    location /put/ { dav_methods PUT; }
  }
}
`
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    () => true,
    () => false,
  )
}

/** One that nobody uses at the moment. */
export async function freePort(): Promise<number> {
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  const address = holder.address()
  await new Promise((resolve) => holder.close(resolve))
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}
