/** Bytes that are encoded at a time: few enough for the text to be soon gone from memory. A multiple of three. */
const PIECE = 24 * 1024

/** Characters of each piece of text. */
export const ENCODED_PIECE = (PIECE / 3) * 4

/** Characters that bytes have in base64, padding included. */
export function encodedSize(bytes: number): number {
  return Math.ceil(bytes / 3) * 4
}

/** Bytes in base64, as they come. Gives back the memory of each piece: nobody else may look at it. */
export async function* encoded(pieces: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = Buffer.of()
  for await (const piece of pieces) {
    // Three bytes are four characters, so what is left of three waits for more.
    const missing = rest.length === 0 ? 0 : 3 - rest.length
    if (piece.length < missing) {
      rest = Buffer.concat([rest, piece])
      continue
    }
    if (missing > 0) yield Buffer.concat([rest, piece.subarray(0, missing)]).toString('base64')
    const end = piece.length - ((piece.length - missing) % 3)
    for (let at = missing; at < end; at += PIECE)
      yield piece.toString('base64', at, Math.min(at + PIECE, end))
    rest = Buffer.from(piece.subarray(end))
    letGo(piece)
  }
  if (rest.length > 0) yield rest.toString('base64')
}

/** What the garbage collector would do much later: to it, such a piece is a few bytes. */
function letGo({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
}
