import type { FastifyInstance, onRequestAsyncHookHandler } from 'fastify'
import type { Admission } from '../admission.ts'
import { readBase64, refuseTooLargeBase64 } from '../intake/base64.ts'
import { readMultipart, refuseTooLarge } from '../intake/multipart.ts'
import { refuseBadOptions } from '../intake/options.ts'
import type { Deps } from './deps.ts'
import { describe, FORM_REFUSALS, json, refusals, UPLOAD_HEADERS, UPLOAD_REFUSALS } from './describe.ts'
import { factsOf } from './facts.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { BASE64, EXPIRY_OPTIONS, FORM } from './schemas.ts'
import { takeUpload, type Uploaded } from './take-upload.ts'

const UPLOADS = '/v1/files/uploads'

/** The ways in below `/v1/files/uploads`: an image as a form or as base64. */
export function files(
  app: FastifyInstance,
  deps: Deps,
  mayEnter: onRequestAsyncHookHandler,
  doors: Admission,
): void {
  const { config } = deps
  const mayUpload = [mayEnter, refuseBadOptions(config)]
  const answer = ({ name, size, header }: Uploaded) => ({ ...factsOf(name, size, deps), ...header })

  const ofForm = {
    onRequest: [...mayUpload, refuseTooLarge(config.maxFileSize), doors.mayUpload()],
    schema: SCHEMAS.form,
  }
  app.post(UPLOADS, ofForm, async (request, reply) => {
    const incoming = await readMultipart(request, config.maxFileSize)
    return answer(await takeUpload({ request, reply, incoming }, deps))
  })

  const ofJson = {
    onRequest: [...mayUpload, refuseTooLargeBase64(config.maxFileSize), doors.mayUpload()],
    schema: SCHEMAS.base64,
  }
  app.post(`${UPLOADS}/base64`, ofJson, async (request, reply) => {
    const incoming = readBase64(request, config.maxFileSize)
    return answer(await takeUpload({ request, reply, incoming }, deps))
  })

  refuseOtherMethods(app, UPLOADS, ['GET', 'HEAD', 'POST'])
  refuseOtherMethods(app, `${UPLOADS}/base64`, ['POST'])
}

const tags = ['Files']
const stored = json('The image is stored and can be fetched.', { $ref: 'Image#' }, UPLOAD_HEADERS)

const SCHEMAS = {
  form: describe({
    operationId: 'createUpload',
    tags,
    summary: 'Upload an image as a form',
    ...EXPIRY_OPTIONS,
    body: FORM,
    response: { 200: stored, ...refusals('Error', ...UPLOAD_REFUSALS, ...FORM_REFUSALS) },
  }),
  base64: describe({
    operationId: 'createUploadFromBase64',
    tags,
    summary: 'Upload an image as base64',
    ...EXPIRY_OPTIONS,
    body: BASE64,
    response: {
      200: stored,
      ...refusals(
        'Error',
        ...UPLOAD_REFUSALS,
        'json_expected',
        'json_malformed',
        'data_missing',
        'base64_invalid',
      ),
    },
  }),
}
