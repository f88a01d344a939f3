import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import { type PageFile, readPageFiles } from '../page-files.ts'
import { listsWeakly } from '../serve.ts'
import type { Deps } from './deps.ts'
import { HIDDEN } from './describe.ts'
import { refuseOtherMethods } from './other-methods.ts'

/** The page at `/`, for people with a browser, and the files that this and other pages are made of, below `/page/`. */
export function page(app: FastifyInstance, { config }: Pick<Deps, 'config'>): void {
  if (config.page === 'off') return
  const files = readPageFiles()

  const send = (name: string, request: FastifyRequest, reply: FastifyReply) => {
    const file = files.get(name)
    if (file === undefined) throw problem('not_found')
    return sendPage(file, request, reply)
  }

  app.get('/', { schema: HIDDEN }, async (request, reply) => send('index.html', request, reply))
  app.get('/page/:file', { schema: HIDDEN }, async (request, reply) => {
    const { file } = request.params as { file: string }
    return send(file, request, reply)
  })
  // The adapter `plain` takes uploads at the page's address, and refuses the rest itself.
  if (!config.adapters.includes('plain')) refuseOtherMethods(app, '/', ['GET', 'HEAD'])
  refuseOtherMethods(app, '/page/:file', ['GET', 'HEAD'])
}

/** Nothing runs but files of this server, nothing is sent elsewhere, and no other page can frame it. */
const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  // No script can make markup of text, whatever it does.
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

/** Answers with a page, or one of its files; with 304 if the browser has it. */
export function sendPage(file: PageFile, { headers }: FastifyRequest, reply: FastifyReply) {
  reply.headers({
    'content-security-policy': CSP,
    'cache-control': 'no-cache',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-robots-tag': 'noindex',
    vary: 'Accept-Encoding',
  })
  const isGzipped = takesGzip(headers['accept-encoding'])
  const etag = isGzipped ? file.gzippedEtag : file.etag
  reply.header('etag', etag)
  const { 'if-none-match': noneMatch } = headers
  if (noneMatch !== undefined && listsWeakly(noneMatch, etag)) return reply.code(304).send()
  reply.type(file.type)
  if (!isGzipped) return reply.send(file.bytes)
  return reply.header('content-encoding', 'gzip').send(file.gzipped)
}

/** Whether gzip is named, and not with `q=0`, which refuses it (RFC 9110, section 12.4.2). */
function takesGzip(acceptEncoding: string | string[] | undefined): boolean {
  const [, weight = ''] = /(?:^|,)\s*gzip\s*(?:;\s*q=([\d.]+)\s*)?(?:,|$)/i.exec(
    String(acceptEncoding ?? ''),
  ) ?? [null, '0']
  return weight === '' || Number(weight) > 0
}
