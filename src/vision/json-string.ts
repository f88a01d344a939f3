/** The text of a JSON string, given without its quotes and in pieces. Throws a SyntaxError where it is none. */
export async function* unescaped(pieces: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  for await (const piece of pieces) {
    const text = rest + decoded(decoder, piece)
    const whole = text.length - halfEscape(text)
    rest = text.slice(whole)
    yield plain(text.slice(0, whole))
  }
  yield plain(rest + decoded(decoder))
}

function decoded(decoder: TextDecoder, piece?: Buffer): string {
  try {
    return decoder.decode(piece, { stream: piece !== undefined })
  } catch (cause) {
    throw new SyntaxError('not in UTF-8', { cause })
  }
}

function plain(text: string): string {
  return text.includes('\\') ? JSON.parse(`"${text}"`) : text
}

/** How many characters at the end are an escape that goes on in the next piece. */
function halfEscape(text: string): number {
  const last = text.lastIndexOf('\\')
  if (last < 0 || last < text.length - 5) return 0
  let first = last
  while (text[first - 1] === '\\') first -= 1
  // Of an even number, the last is what the one before it stands for.
  if ((last - first) % 2 === 1) return 0
  return /^\\(u[0-9a-f]{0,3})?$/i.test(text.slice(last)) ? text.length - last : 0
}
