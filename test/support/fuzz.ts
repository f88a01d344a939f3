import { parseArgs } from 'node:util'
import { startModelServer } from './model-server.ts'
import { schemathesis } from './schemathesis.ts'
import { startServer } from './server.ts'
import { tempFolder } from './temp-folder.ts'

/**
 * `npm run fuzz`: asks a server of its own all sorts of things, made from its own API document. Fails if an answer is not as
 * documented, or the server failed or died. Takes `--cases`, for each operation, and `--seed`.
 */
const { values } = parseArgs({
  options: { cases: { type: 'string', default: '100' }, seed: { type: 'string', default: '1' } },
})
const problems = await fuzz({ cases: Number(values.cases), seed: Number(values.seed) })
for (const problem of problems) console.error(`fuzzing: ${problem}`)
process.exitCode = problems.length > 0 ? 1 : 0

/** What was wrong. */
async function fuzz(options: { cases: number; seed: number }): Promise<string[]> {
  await using folder = await tempFolder()
  await using model = await startModelServer()
  model.answer = (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  // Else it would ask the hosts of all the URLs that come to be made.
  await using server = await startServer({
    env: {
      ...{ HOST: '127.0.0.1', MIN_FREE_SPACE: '0', URL_FETCH: 'off', ADAPTERS: 'all' },
      ...{ VISION_UPSTREAM_URL: model.url, VISION_IMAGES: 'url' },
    },
  })
  const url = server.url.replace('localhost', '127.0.0.1')
  const isClean = await schemathesis({ ...options, url, key: server.key(), dir: folder.path })
  const { code, signal } = await server.stop('SIGTERM')

  const lines = server.output().split('\n')
  const requests = lines.filter((line) => line.includes('"msg":"request'))
  const failures = lines.filter((line) => /"status":5\d\d|"level":[56]0/.test(line))
  const byStatus = Map.groupBy(requests, (line) => JSON.parse(line).status as number)
  const counts = [...byStatus]
    .sort(([a], [b]) => a - b)
    .map(([status, found]) => `${found.length} × ${status}`)
  console.log(`fuzzing: ${requests.length} requests, answered ${counts.join(', ')}`)
  return [
    ...(isClean ? [] : ['answers are not as the document says, see above']),
    ...(requests.length > 0 ? [] : ['the server was never asked']),
    ...(model.calls.some(({ body }) => body.includes('/uploads/')) ? [] : ['the model was shown no image']),
    ...(code === 0 ? [] : [`the server ended with ${code ?? signal}`]),
    ...failures.map((line) => `the server logged ${line}`),
  ]
}
