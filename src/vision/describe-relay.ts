import type { ErrorCode } from '../errors.ts'
import {
  type Answer,
  answerIn,
  describe,
  ENTRY_REFUSALS,
  header,
  NO_SNIFFING,
  refusals,
} from '../routes/describe.ts'
import type { Shape } from './find-images.ts'

const tags = ['Models']

/** What a call can meet before it reaches the model's server. */
const CALL_REFUSALS: readonly ErrorCode[] = [
  ...ENTRY_REFUSALS,
  'vision_upstream_unreachable',
  'vision_upstream_timeout',
  'server_busy',
]
const IMAGE_REFUSALS: readonly ErrorCode[] = [
  ...CALL_REFUSALS,
  'json_expected',
  'json_malformed',
  'upload_incomplete',
  'upload_stalled',
  'body_fragmented',
  'vision_body_too_large',
  'vision_too_many_images',
  'vision_image_expired',
  'vision_image_unknown',
  'vision_image_unreachable',
  'vision_image_not_an_image',
  'vision_image_invalid',
  'vision_image_too_large',
  'expires_in_invalid',
  'quota_exceeded',
  'file_over_quota',
  'store_unavailable',
  'storage_full',
]

const ANYTHING = { description: 'As the model’s server has it.' }
const answered: Answer = answerIn(
  { 'application/json': ANYTHING, 'text/event-stream': ANYTHING },
  'What the model’s server answers, as it comes, with its headers. Its errors, too, are passed on with their status.',
  {
    ...NO_SNIFFING,
    'Cache-Control': header('`no-store`, unless the model’s server says otherwise.'),
    'X-Accel-Buffering': header('`no`: a proxy that knows it passes each word on as it comes.'),
    'X-Upstream-Request-Id': header('The model’s server’s own `X-Request-Id`.'),
  },
)

const body = {
  content: {
    'application/json': {
      schema: {
        type: 'object',
        description: 'As the model’s server takes it, with images as URLs or data URLs.',
        additionalProperties: true,
      },
    },
  },
}

const call = (operationId: string, summary: string, shape: 'Error' | 'AnthropicError' = 'Error') =>
  describe({
    ...{ operationId, tags, summary, body },
    response: { 200: answered, ...refusals(shape, ...IMAGE_REFUSALS) },
  })

export const RELAY_SCHEMAS: Readonly<Record<Shape | 'models', ReturnType<typeof describe>>> = {
  chat: call('createChatCompletion', 'Show images to a model, in the shape of OpenAI’s chat completions'),
  responses: call('createResponse', 'Show images to a model, in the shape of OpenAI’s responses'),
  messages: call(
    'createMessage',
    'Show images to a model, in the shape of Anthropic’s messages',
    'AnthropicError',
  ),
  models: describe({
    ...{ operationId: 'listModels', tags, summary: 'List the models that there are' },
    response: { 200: answered, ...refusals('Error', ...CALL_REFUSALS) },
  }),
}
