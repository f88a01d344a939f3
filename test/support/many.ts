import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { uploadOf } from './multipart.ts'

export interface ManyUploads {
  readonly image: Buffer
  readonly count: number
  /** Kept open, each with one upload at a time. */
  readonly connections: number
}

/** Uploads an image again and again, as fast as the server takes it. Answers with the status of each. */
export async function uploadMany(
  { url, key }: { readonly url: string; key(): string },
  { image, count, connections }: ManyUploads,
): Promise<number[]> {
  const form = uploadOf(image)
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const headers = {
    authorization: `Bearer ${key()}`,
    'content-type': form.contentType,
    'content-length': form.body.length,
  }
  const upload = () =>
    new Promise<number>((resolve, reject) => {
      const sent = request(`${url}/api/upload`, { agent, method: 'POST', headers }, (response) => {
        text(response).then(() => resolve(response.statusCode ?? 0), reject)
      })
      sent.on('error', reject).end(form.body)
    })
  try {
    return await Promise.all(Array.from({ length: count }, upload))
  } finally {
    agent.destroy()
  }
}
