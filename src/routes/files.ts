import type { FastifyInstance, onRequestAsyncHookHandler } from 'fastify'
import type { Admission } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { readBase64, refuseTooLargeBase64 } from '../intake/base64.ts'
import { refuseBadCopy } from '../intake/copy.ts'
import { readMultipart, refuseTooLarge } from '../intake/multipart.ts'
import { refuseBadOptions } from '../intake/options.ts'
import { explainRemote, readRemote, refuseUnlessFetching } from '../intake/remote.ts'
import type { Deps } from './deps.ts'
import {
  COPY_REFUSALS,
  describe,
  FORM_REFUSALS,
  json,
  refusals,
  UPLOAD_HEADERS,
  UPLOAD_REFUSALS,
  URL_REFUSALS,
} from './describe.ts'
import { allFactsOf, factsOf } from './facts.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { BASE64, BY_URL, FORM, UPLOAD_OPTIONS } from './schemas.ts'
import { clientGone, takeUpload, type Uploaded } from './take-upload.ts'

const UPLOADS = '/v1/files/uploads'

/** The ways in below `/v1/files/uploads`: an image as a form, as base64 or by its URL. */
export function files(
  app: FastifyInstance,
  deps: Deps,
  mayEnter: onRequestAsyncHookHandler,
  doors: Admission,
): void {
  const { config } = deps
  const mayUpload = [mayEnter, refuseBadOptions(config), refuseBadCopy(deps.fitter)]
  const answer = ({ name, size, header, fitted }: Uploaded) => ({
    ...allFactsOf(name, { size, ...header }, deps),
    ...(fitted && { fitted: { ...factsOf(fitted.name, fitted.size, deps), ...fitted.header } }),
  })

  const ofForm = {
    onRequest: [...mayUpload, refuseTooLarge(config.maxFileSize), doors.mayUpload()],
    schema: SCHEMAS.form,
  }
  app.post(UPLOADS, ofForm, async (request, reply) => {
    const incoming = await readMultipart(request, config.maxFileSize)
    return answer(await takeUpload({ request, reply, incoming, mayCopy: true }, deps))
  })

  const ofJson = {
    onRequest: [...mayUpload, refuseTooLargeBase64(config.maxFileSize), doors.mayUpload()],
    schema: SCHEMAS.base64,
  }
  app.post(`${UPLOADS}/base64`, ofJson, async (request, reply) => {
    const incoming = readBase64(request, config.maxFileSize)
    return answer(await takeUpload({ request, reply, incoming, mayCopy: true }, deps))
  })

  // Its body is small, and what it fetches may not be.
  const doorOfUrl = doors.mayUpload({ bytes: config.maxFileSize })
  const ofUrl = { onRequest: [...mayUpload, refuseUnlessFetching(config), doorOfUrl], schema: SCHEMAS.url }
  app.post(`${UPLOADS}/url`, ofUrl, async (request, reply) => {
    const signal = clientGone(reply)
    const incoming = await readRemote(request, { ...deps, signal })
    const taken = takeUpload({ request, reply, incoming, signal, mayCopy: true }, deps)
    return answer(await whileClientWaits(request.raw, taken).catch(explainRemote))
  })

  refuseOtherMethods(app, UPLOADS, ['GET', 'HEAD', 'POST'])
  refuseOtherMethods(app, `${UPLOADS}/base64`, ['POST'])
  refuseOtherMethods(app, `${UPLOADS}/url`, ['POST'])
}

const tags = ['Files']
const stored = json('The image is stored and can be fetched.', { $ref: 'NewImage#' }, UPLOAD_HEADERS)

const SCHEMAS = {
  form: describe({
    operationId: 'createUpload',
    tags,
    summary: 'Upload an image as a form',
    ...UPLOAD_OPTIONS,
    body: FORM,
    response: { 200: stored, ...refusals('Error', ...UPLOAD_REFUSALS, ...COPY_REFUSALS, ...FORM_REFUSALS) },
  }),
  base64: describe({
    operationId: 'createUploadFromBase64',
    tags,
    summary: 'Upload an image as base64',
    ...UPLOAD_OPTIONS,
    body: BASE64,
    response: {
      200: stored,
      ...refusals(
        'Error',
        ...UPLOAD_REFUSALS,
        ...COPY_REFUSALS,
        'json_expected',
        'json_malformed',
        'data_missing',
        'base64_invalid',
      ),
    },
  }),
  url: describe({
    operationId: 'createUploadFromUrl',
    tags,
    summary: 'Have an image fetched from its URL',
    ...UPLOAD_OPTIONS,
    body: BY_URL,
    response: { 200: stored, ...refusals('Error', ...URL_REFUSALS, ...COPY_REFUSALS) },
  }),
}
