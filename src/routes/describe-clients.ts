import { answerIn, describe, header, NO_SNIFFING, refusals } from './describe.ts'

const text = (description: string) => ({ type: 'string', description })

function exactly(properties: object) {
  return { type: 'object', required: Object.keys(properties), properties, additionalProperties: false }
}

const FILE = exactly({
  name: text('As to be saved.'),
  url: { type: 'string', format: 'uri', description: 'Where it can be downloaded.' },
  text: text('What is in it, with `YOUR_KEY` where the key belongs.'),
})

const CLIENT = exactly({
  id: { type: 'string', pattern: '^[a-z]+$' },
  name: text('As the program calls itself.'),
  platforms: { type: 'array', items: { type: 'string' } },
  description: text('What it is good for.'),
  steps: { type: 'array', items: { type: 'string' }, description: 'In Markdown: code is between backticks.' },
  files: { type: 'array', items: FILE },
})

const LISTING = exactly({
  server: { type: 'string', format: 'uri', description: 'PUBLIC_URL, which the files lead to.' },
  clients: { type: 'array', items: CLIENT },
})

const tags = ['Clients']
const isOpen = true
const REVALIDATED = { ...NO_SNIFFING, 'Cache-Control': header('`no-cache`.') }

/** What the page has besides. */
const OF_PAGE = {
  ETag: header('Only of the page.'),
  Vary: header('`Accept, Accept-Encoding, Accept-Language`.'),
  'Content-Encoding': header('`gzip`, of the page, if asked for.'),
  'Content-Security-Policy': header('Of the page: nothing runs but files of this server.'),
  'Referrer-Policy': header('`no-referrer`, of the page.'),
  'X-Robots-Tag': header('`noindex`, of the page.'),
}

export const CLIENT_SCHEMAS = {
  list: describe({
    operationId: 'listClients',
    tags,
    isOpen,
    summary: 'Programs that can upload here, set up for this server',
    description:
      'A page for those that accept HTML, unless PAGE is off. In the language of Accept-Language, if that is Chinese.',
    querystring: {
      type: 'object',
      properties: { lang: { enum: ['en', 'zh'], description: 'Counts more than Accept-Language.' } },
    },
    response: {
      200: answerIn({ 'application/json': LISTING, 'text/html': { type: 'string' } }, 'All of them.', {
        ...REVALIDATED,
        ...OF_PAGE,
      }),
      ...refusals('Error', 'not_found'),
    },
  }),
  file: describe({
    operationId: 'getClientFile',
    tags,
    isOpen,
    summary: 'A configuration or a program, whole but for the key',
    params: {
      type: 'object',
      required: ['client', 'file'],
      properties: { client: text('Its `id`.'), file: text('The file’s `name`.') },
    },
    response: {
      200: answerIn({ 'application/json': {}, 'text/plain': { type: 'string' } }, 'To be saved.', {
        ...REVALIDATED,
        'Content-Disposition': header('`attachment`, with the name.'),
      }),
      ...refusals('Error', 'not_found'),
    },
  }),
}
