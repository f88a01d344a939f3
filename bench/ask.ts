import { request } from 'node:http'
import { buffer } from 'node:stream/consumers'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

/** One request on a connection of its own, with nothing done to the answer. */
export async function ask(
  url: string,
  options: { method?: string; headers?: Readonly<Record<string, string>>; body?: Buffer } = {},
): Promise<Answer> {
  const { method = 'GET', headers = {}, body } = options
  return new Promise((resolve, reject) => {
    const length = body && { 'content-length': body.length }
    request(url, { method, headers: { ...headers, ...length }, agent: false }, (response) => {
      buffer(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      )
    })
      .on('error', reject)
      .end(body)
  })
}
