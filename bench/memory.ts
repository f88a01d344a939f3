import { pngOfSize } from '../test/support/images.ts'
import { uploadOf } from '../test/support/multipart.ts'
import { memoryOf } from '../test/support/process-facts.ts'
import { startServer } from '../test/support/server.ts'
import { exchange, uploadHead } from '../test/support/socket.ts'

/**
 * How much memory the server process takes while many large uploads are under way at once: `npm run bench:memory`.
 *
 * The peak is the kernel's own count of the process (VmHWM), so this runs on Linux alone.
 */

const UPLOADS = 64
const SIZE = 20 * 1024 ** 2
const LIMIT_MB = 250

await using server = await startServer()
const form = uploadOf(pngOfSize(SIZE))
const head = uploadHead(form, `Bearer ${server.key()}`)

async function upload(): Promise<number> {
  return (await exchange(Number(new URL(server.url).port), head, form.body)).status
}

const idle = await memoryOf(server.pid)
const begun = performance.now()
const statuses = await Promise.all(Array.from({ length: UPLOADS }, upload))
const seconds = (performance.now() - begun) / 1000
const peak = await memoryOf(server.pid, 'VmHWM')
const stored = statuses.filter((status) => status === 200).length

console.log(
  `${UPLOADS} parallel uploads of ${SIZE / 1024 ** 2} MB, ${stored} stored, in ${seconds.toFixed(1)} s`,
)
console.log(
  `RSS: ${idle} MB idle, ${peak} MB at its peak (limit ${LIMIT_MB} MB: ${peak < LIMIT_MB ? 'met' : 'not met'})`,
)
process.exitCode = stored === UPLOADS && peak < LIMIT_MB ? 0 : 1
