import type { FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import { isJson } from '../intake/incoming.ts'
import { fileMissing, mostBytes, readFiles, refuseTooManyBytes } from '../intake/multipart.ts'
import { refuseBadOptions } from '../intake/options.ts'
import { jsonText } from '../problem-text.ts'
import { refuseOtherMethods } from '../routes/other-methods.ts'
import { takeUploads } from '../routes/take-uploads.ts'
import type { Adapter } from './adapter.ts'
import { PICGO } from './describe-adapters.ts'
import { type Result, resultsOf, sentenceOf } from './several.ts'

const URL = '/upload'

/** Clients read the one or the other. */
const refused = (message: string, result: string[] = []) => ({
  success: false,
  result,
  message,
  msg: message,
})

const problemText = jsonText(({ message }) => refused(message))

/** The server of PicGo and PicList, `POST /upload`, as programs on other machines use it: any number of files, in parts of any name. */
export const picgo: Adapter = ({ app, deps, enter, doors }) => {
  const { config } = deps
  const onRequest = [
    enter(['query']),
    refusePaths,
    refuseTooManyBytes(config.maxFileSize),
    refuseBadOptions(config),
    doors.mayUpload({ most: mostBytes(config.maxFileSize) }),
  ]
  app.post(URL, { onRequest, schema: PICGO, config: { problemText } }, async (request, reply) => {
    const incoming = readFiles(request, config.maxFileSize)
    const outcomes = await takeUploads({ request, reply, incoming }, deps)
    if (outcomes.length === 0) throw fileMissing([...incoming.fields.keys()], 'file')
    return answerOf(resultsOf(outcomes, { request, reply, deps }))
  })
  refuseOtherMethods(app, URL, ['POST'], { problemText })
}

/** PicGo runs where the files are, and is mostly told their paths; here they would be those of another machine. */
async function refusePaths(request: FastifyRequest): Promise<void> {
  if (isJson(request)) throw problem('paths_refused')
}

function answerOf(results: readonly Result[]) {
  const urls = results.flatMap((result) => ('url' in result ? result.url : []))
  const problems = results.filter((result) => 'problem' in result)
  if (problems.length === 0) return { success: true, result: urls }
  const errors = problems.map(({ file, problem: { code, message } }) => ({ file, code, message }))
  return { ...refused(problems.map(sentenceOf).join(' '), urls), errors }
}
