import type { FastifyInstance, onRequestAsyncHookHandler } from 'fastify'
import type { Admission } from '../admission.ts'
import type { Envelope } from '../errors.ts'
import { refuseBadCopy } from '../intake/copy.ts'
import { readMultipart, refuseTooLarge } from '../intake/multipart.ts'
import { refuseBadOptions } from '../intake/options.ts'
import type { Deps } from './deps.ts'
import {
  COPY_REFUSALS,
  describe,
  FITTED_HEADER,
  FORM_REFUSALS,
  json,
  refusals,
  UPLOAD_HEADERS,
  UPLOAD_REFUSALS,
} from './describe.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { FORM, UPLOAD_OPTIONS } from './schemas.ts'
import { takeUpload } from './take-upload.ts'

/** `POST /api/upload`: one image in, its URL out, in the gateway's envelope. */
export function apiUpload(
  app: FastifyInstance,
  deps: Deps,
  mayEnter: onRequestAsyncHookHandler,
  doors: Admission,
): void {
  const { config, urlOf } = deps
  const onRequest = [
    mayEnter,
    refuseTooLarge(config.maxFileSize),
    refuseBadOptions(config),
    refuseBadCopy(deps.fitter),
    doors.mayUpload(),
  ]

  app.post('/api/upload', { onRequest, schema: UPLOAD }, async (request, reply): Promise<Envelope> => {
    const incoming = await readMultipart(request, config.maxFileSize)
    const { name, fitted } = await takeUpload({ request, reply, incoming, mayCopy: true }, deps)
    if (fitted) reply.header('x-layover-fitted-url', urlOf(fitted.name))
    return { success: true, message: '', data: urlOf(name) }
  })

  refuseOtherMethods(app, '/api/upload', ['POST'])
}

const UPLOAD = describe({
  operationId: 'upload',
  tags: ['Gateway'],
  summary: 'Upload an image, and get its URL in the gateway’s envelope',
  ...UPLOAD_OPTIONS,
  body: FORM,
  response: {
    200: json(
      'The image is stored and can be fetched.',
      { $ref: 'Envelope#' },
      {
        ...UPLOAD_HEADERS,
        ...FITTED_HEADER,
      },
    ),
    ...refusals('Envelope', ...UPLOAD_REFUSALS, ...COPY_REFUSALS, ...FORM_REFUSALS),
  },
})
