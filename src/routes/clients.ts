import type { FastifyInstance, onSendHookHandler } from 'fastify'
import type { Client, Language } from '../clients/client.ts'
import { clientsOf } from '../clients/clients.ts'
import { clientsPage } from '../clients/page.ts'
import { problem } from '../errors.ts'
import { type PageFile, pageFile } from '../page-files.ts'
import type { Deps } from './deps.ts'
import { CLIENT_SCHEMAS } from './describe-clients.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { sendPage } from './page.ts'

interface ClientsDeps extends Pick<Deps, 'config' | 'presign'> {
  /** The server’s address, asked for when the server listens. */
  readonly serverUrl: () => string
}

/** What is at `/clients`, in one language. */
interface Listing {
  readonly page: PageFile
  readonly json: Buffer
}

/**
 * `/clients`: programs that people already have, set up for this server, as a page and as JSON, and each file of them by itself. No key comes in
 * or goes out: the files have a word in its place, which the page’s script replaces in the browser.
 */
export function clients(app: FastifyInstance, { config, presign, serverUrl }: ClientsDeps): void {
  // The address is not known before the server listens, and does not change then.
  let known: readonly Client[] | undefined
  const all = () => {
    known ??= clientsOf({ base: serverUrl(), hasLinks: presign !== undefined })
    return known
  }
  const listings = new Map<Language, Listing>()
  const listing = (language: Language) => {
    const made = listings.get(language) ?? listingOf(all(), serverUrl(), language)
    listings.set(language, made)
    return made
  }

  app.get('/clients', { schema: CLIENT_SCHEMAS.list, onSend: sayWhatItVariesBy }, async (request, reply) => {
    const { accept = '', 'accept-language': languages } = request.headers
    const { lang } = request.query as { lang?: unknown }
    const { page, json } = listing(languageOf(lang, languages))
    if (accept.includes('text/html')) {
      if (config.page === 'off') throw problem('not_found')
      return sendPage(page, request, reply)
    }
    return reply.headers(HEADERS).type('application/json; charset=utf-8').send(json)
  })

  app.get('/clients/:client/:file', { schema: CLIENT_SCHEMAS.file }, async (request, reply) => {
    const { client, file } = request.params as { client: string; file: string }
    const found = all()
      .find(({ id }) => id === client)
      ?.files.find(({ name }) => name === file)
    if (found === undefined) throw problem('not_found')
    return reply
      .headers(HEADERS)
      .header('content-disposition', `attachment; filename="${found.name}"`)
      .type(found.type)
      .send(found.text)
  })

  for (const path of ['/clients', '/clients/:client/:file']) refuseOtherMethods(app, path, ['GET', 'HEAD'])
}

const HEADERS = { 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' }

const sayWhatItVariesBy: onSendHookHandler<unknown> = (_request, reply, payload, done) => {
  if (reply.statusCode < 400) reply.header('vary', 'Accept, Accept-Encoding, Accept-Language')
  done(null, payload)
}

function listingOf(clients: readonly Client[], base: string, language: Language): Listing {
  const list = clients.map(({ id, name, platforms, about, steps, files }) => ({
    id,
    name,
    platforms: platforms.split(', '),
    description: about[language],
    steps: steps.map((step) => step[language]),
    files: files.map((file) => ({
      name: file.name,
      url: `${base}/clients/${id}/${file.name}`,
      text: file.text,
    })),
  }))
  return {
    page: pageFile('text/html; charset=utf-8', Buffer.from(clientsPage(clients, base, language))),
    json: Buffer.from(JSON.stringify({ server: base, clients: list })),
  }
}

/** The language that is asked for, or the first that the browser names and we have; English otherwise. */
function languageOf(asked: unknown, languages = ''): Language {
  if (asked === 'en' || asked === 'zh') return asked
  const first = languages
    .split(',')
    .map((language) => language.trim().slice(0, 2).toLowerCase())
    .find((language) => language === 'en' || language === 'zh')
  return first === 'zh' ? 'zh' : 'en'
}
