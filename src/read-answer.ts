import type { IncomingMessage } from 'node:http'

/** Bytes of another server's answer that are read at most. */
const MOST = 1024 * 1024

/** The body of an answer to a request of ours, cut off behind as much as any sensible one has. Rejects with what breaks it off. */
export async function readAnswer(answer: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of answer) {
    size += piece.length
    if (size > MOST) break
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
