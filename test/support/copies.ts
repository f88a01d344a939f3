import { authorization, type TestApp } from './app.ts'
import { multipartBody, type Part } from './multipart.ts'

export const FILES = '/v1/files/uploads'

/** What `/v1` says of an image, or of its copy. */
export interface CopyFacts {
  readonly id: string
  readonly url: string
  readonly mime_type: string
  readonly size: number
  readonly width: number
  readonly height: number
  readonly animated: boolean
  readonly expires_at: string
}

export type CopyAnswer = CopyFacts & {
  readonly fitted?: CopyFacts
  readonly error?: { readonly code: string; readonly message: string }
}

export const filePart = (content: Buffer): Part => ({ name: 'file', content, filename: 'x' })

/** How the tests ask a server for copies. */
export function copiesOf(app: Pick<TestApp, 'url'>) {
  async function post(path: string, body: string | Buffer, headers: Record<string, string>) {
    const sent = typeof body === 'string' ? body : new Uint8Array(body)
    const init = { method: 'POST', body: sent, headers: { authorization, ...headers } }
    const answer = await fetch(`${app.url}${path}`, init)
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as CopyAnswer }
  }

  function upload(image: Buffer, query: string, fields: Part[] = []) {
    const { body, contentType } = multipartBody([...fields, filePart(image)])
    return post(`${FILES}${query}`, body, { 'content-type': contentType })
  }

  async function bytesAt(url: string): Promise<Buffer> {
    const answer = await fetch(url.replace(/^http:\/\/localhost:\d+/, app.url))
    return Buffer.from(await answer.arrayBuffer())
  }

  /** A copy that must be made, with its bytes. */
  async function copyOf(image: Buffer, query: string) {
    const { status, body } = await upload(image, query)
    const { fitted } = body
    if (fitted === undefined) throw new Error(`no copy was made: ${status} ${body.error?.code}`)
    const bytes = await bytesAt(fitted.url)
    if (bytes.length !== fitted.size) throw new Error(`${bytes.length} bytes instead of ${fitted.size}`)
    return { original: body, fitted, bytes }
  }

  return { post, upload, bytesAt, copyOf }
}
