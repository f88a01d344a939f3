import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encoded, encodedSize } from '../../src/vision/base64-encoder.ts'
import { unescaped } from '../../src/vision/json-string.ts'

/** Bytes in pieces that end at these places. */
async function* inPieces(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  let at = 0
  for (const end of ends) {
    yield Buffer.from(bytes.subarray(at, end))
    at = end
  }
}

async function joined(pieces: AsyncIterable<string>): Promise<string> {
  return (await Array.fromAsync(pieces)).join('')
}

const cuts = fc.array(fc.nat(500), { maxLength: 10 })

test('bytes in pieces become their base64, of the size that was said before', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), cuts, async (bytes, cuts) => {
      const text = await joined(encoded(inPieces(Buffer.from(bytes), cuts)))
      expect(text).toBe(Buffer.from(bytes).toString('base64'))
      expect(text).toHaveLength(encodedSize(bytes.length))
    }),
  )
  const large = Buffer.alloc(100_001, 'some bytes')
  expect(await joined(encoded(inPieces(large, [1, 2, 70_000])))).toBe(large.toString('base64'))
})

test('a JSON string in pieces becomes its text, also where an escape is cut', async () => {
  const strings = fc.array(
    fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('\\', '\\\\', '"', '\u0001', '😀', '/')),
  )
  await fc.assert(
    fc.asyncProperty(strings, fc.boolean(), cuts, async (parts, isEscaped, cuts) => {
      const value = parts.join('')
      const plain = JSON.stringify(value).slice(1, -1)
      const raw = isEscaped ? plain.replaceAll('/', '\\/').replace(/[^\x20-\x7e]/g, toEscape) : plain
      expect(await joined(unescaped(inPieces(Buffer.from(raw), cuts)))).toBe(JSON.parse(`"${raw}"`))
    }),
    { numRuns: 200 },
  )
})

const toEscape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

test.each(['\\q', '\\u12', '\\', 'a\u0001\\n'])('%j is no JSON string', async (raw) => {
  await expect(joined(unescaped(inPieces(Buffer.from(raw), [])))).rejects.toThrow(SyntaxError)
})
