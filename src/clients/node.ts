import { type Client, KEY, literal, type ServerFacts, textFile } from './client.ts'

/** Node 20 or newer: `fetch`, and `fs.openAsBlob`, which reads the file as it is sent. */
export function node({ base }: ServerFacts): Client {
  return {
    id: 'node',
    name: 'Node.js',
    platforms: 'Windows, macOS, Linux',
    about: { en: 'Without any package.', zh: '不需要任何依赖包。' },
    steps: [
      {
        en: '`node layover.mjs photo.jpg`, with Node 20 or newer. LAYOVER_KEY in the environment counts more than the key in the file.',
        zh: '`node layover.mjs photo.jpg`，需要 Node 20 或更新版本。环境变量 LAYOVER_KEY 优先于文件里的密钥。',
      },
    ],
    files: [textFile('layover.mjs', script(base))],
  }
}

function script(base: string): string {
  return `import { openAsBlob } from 'node:fs'
import { basename } from 'node:path'

const url = ${literal(`${base}/api/upload`)}
const key = process.env.LAYOVER_KEY ?? ${literal(KEY)}

for (const path of process.argv.slice(2)) {
  const body = new FormData()
  body.append('file', await openAsBlob(path), basename(path))
  const response = await fetch(url, { method: 'POST', headers: { Authorization: 'Bearer ' + key }, body })
  const { success, message, data } = await response.json()
  if (!success) throw new Error(path + ': ' + message)
  console.log(data)
}
`
}
