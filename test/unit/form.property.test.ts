import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { boundaryOf, FormReader, MalformedForm } from '../../src/intake/form.ts'

interface Part {
  readonly name: string
  readonly isFile: boolean
  readonly content: Buffer
}

/** What looks like the end of a part, whole or in pieces, as often as random bytes never would. */
const PIECES = [
  '\r\n--bou',
  '\r\n--bound',
  '\r',
  '\n',
  '\r\n',
  '--',
  '-',
  'bound',
  '--bound',
  '\r\r\n--boun',
  'x',
  '\0',
]

const content = fc
  .array(fc.constantFrom(...PIECES), { maxLength: 12 })
  .map((pieces) => Buffer.from(pieces.join('')))
  .filter((bytes) => !bytes.includes('\r\n--bound') && !bytes.subarray(0, 7).equals(Buffer.from('--bound')))

const part = fc.record({
  name: fc.constantFrom('file', 'expires_in', 'a b', 'ü', ';'),
  isFile: fc.boolean(),
  content,
})

function bytesOf(parts: readonly Part[]): Buffer {
  const pieces = parts.flatMap(({ name, isFile, content }) => [
    `--bound\r\nContent-Disposition: form-data; name="${name}"${isFile ? '; filename="x;y"' : ''}\r\n\r\n`,
    content,
    '\r\n',
  ])
  return Buffer.concat([...pieces, '--bound--\r\n'].map((piece) => Buffer.from(piece)))
}

async function* cut(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  const next = sizes.values()
  for (let at = 0; at < bytes.length; ) {
    const size = next.next().value ?? bytes.length
    yield bytes.subarray(at, at + size)
    at += size
  }
}

async function read(chunks: AsyncGenerator<Buffer>): Promise<Part[]> {
  const form = new FormReader(chunks, 'bound')
  const parts: Part[] = []
  for (;;) {
    const head = await form.nextPart()
    if (head === undefined) return parts
    parts.push({ ...head, content: Buffer.concat(await Array.fromAsync(form.content())) })
  }
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 60 })
const RUNS = { seed: 7, numRuns: 3000 }

test('whatever is in its parts, and however it is cut, a form is read as it was written', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 4 }), sizes, async (parts, sizes) => {
      expect(await read(cut(bytesOf(parts), sizes))).toEqual(parts)
    }),
    RUNS,
  )
})

test('one that ends too early is never taken for whole, wherever it ends', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { minLength: 1, maxLength: 3 }),
      fc.nat(),
      sizes,
      async (parts, at, sizes) => {
        const bytes = bytesOf(parts)
        // The last line break may be missing.
        const early = bytes.subarray(0, at % (bytes.length - 2))
        await expect(read(cut(early, sizes))).rejects.toThrow(MalformedForm)
      },
    ),
    RUNS,
  )
})

test('random bytes are refused, or read, and never anything else', async () => {
  const bytes = fc.array(
    fc.constantFrom(...PIECES, '--bound\r\n', 'a: b\r\n', '\r\n\r\n', ': ', '"', '\\', ';'),
  )
  await fc.assert(
    fc.asyncProperty(bytes, sizes, async (pieces, sizes) => {
      const parts = await read(cut(Buffer.from(pieces.join('')), sizes)).catch((error) => error)
      expect(Array.isArray(parts) || parts instanceof MalformedForm).toBe(true)
    }),
    RUNS,
  )
})

describe('the head of a part', () => {
  const headOf = async (head: string) => {
    const bytes = Buffer.from(`--bound\r\n${head}\r\n\r\n`)
    return new FormReader(cut(bytes, []), 'bound').nextPart()
  }

  test.each([
    ['content-disposition:form-data;name=file;filename=a', 'file', true],
    ['Content-Disposition: FORM-DATA; filename="\\"; name=\\"x"; name="file"', 'file', true],
    ['Content-Disposition: form-data; name="file"; filename="C:\\a\\"', 'file', true],
    ['Content-Disposition: form-data; name="file"; filename*=UTF-8\'\'a', 'file', true],
    ['Content-Disposition: form-data; name="file"; filename=""', 'file', true],
    ['Content-Disposition: form-data; name="file"\r\nContent-Type: application/octet-stream', 'file', true],
    ['Content-Disposition: form-data; name="file"', 'file', false],
    ['Content-Disposition: form-data;\r\n name="file"', 'file', false],
    ['Content-Disposition: form-data; name="file"; size=1; size=2', 'file', false],
    ['Content-Disposition: form-data; name="file"; filename="name=x"; filename*=UTF-8\'\'a', 'file', true],
    ['Content-Disposition: form-data; name="file"\r\nX-Note: a\r\nX-Note: b', 'file', false],
    ['Content-Disposition: form-data; xname="a"', '', false],
    ['Content-Disposition: attachment; name="file"; filename="a"', '', false],
    ['Content-Type: image/png', '', false],
    ['', '', false],
  ])('%j names %j, a file: %s', async (head, name, isFile) => {
    expect(await headOf(head)).toEqual({ name, isFile })
  })

  test.each([
    ['name', 'Content-Disposition: form-data; name="a"; name="file"'],
    ['name', 'Content-Disposition: form-data; name="file"; NAME=file'],
    ['name', "Content-Disposition: form-data; name=a; name*=UTF-8''file"],
    ['filename', 'Content-Disposition: form-data; name="file"; filename="a"; filename=""'],
    ['filename*', "Content-Disposition: form-data; name=file; filename*=UTF-8''a; filename*=UTF-8''b"],
    [
      'Content-Disposition',
      'Content-Disposition: form-data; name="a"\r\ncontent-disposition: form-data; name="file"',
    ],
    ['Content-Disposition', 'Content-Disposition:\r\nContent-Disposition: form-data; name="file"'],
    ['Content-Type', 'Content-Type: text/plain\r\nContent-Type: application/octet-stream'],
  ])('with two %s is refused: %j', async (twice, head) => {
    await expect(headOf(head)).rejects.toMatchObject({ name: 'AmbiguousPart', twice })
  })

  test.each([
    ['no colon', 'nonsense'],
    ['a space before the colon', 'Content-Disposition : form-data; name="file"'],
    ['a line feed alone', 'A: b\nContent-Disposition: form-data; name="file"'],
    ['a first line that goes on from none', ' A: b'],
    ['a null byte', 'A: b\0'],
    ['more lines than anybody sends', Array.from({ length: 40 }, (_, i) => `A${i}: b`).join('\r\n')],
    ['more bytes than anybody sends', `A: ${'b'.repeat(9000)}`],
  ])('with %s is refused', async (_title, head) => {
    await expect(headOf(head)).rejects.toThrow(MalformedForm)
  })

  test('that is as costly as can be takes no longer than others', async () => {
    const head = `Content-Disposition: form-data; name="file"${';a="\\'.repeat(1500)}`
    expect(await headOf(head)).toEqual({ name: 'file', isFile: false })
  })
})

test.each([
  ['multipart/form-data; boundary=bound', 'bound'],
  ['multipart/form-data; boundary="b o:u/nd"', 'b o:u/nd'],
  ['multipart/form-data;charset=utf-8;BOUNDARY=----=_Part_1.2', '----=_Part_1.2'],
  ['multipart/form-data; boundary=bound; charset=utf-8', 'bound'],
  ['multipart/form-data; xboundary=bound', undefined],
  ['multipart/form-data; boundary=', undefined],
  ['multipart/form-data; boundary=""', undefined],
  ['multipart/form-data; boundary=a; boundary=b', undefined],
  ['multipart/form-data; boundary=a b', undefined],
  ['multipart/form-data; boundary="a\r\nb"', undefined],
  [`multipart/form-data; boundary=${'b'.repeat(70)}`, 'b'.repeat(70)],
  [`multipart/form-data; boundary=${'b'.repeat(71)}`, undefined],
])('the boundary in %j is %j', (contentType, boundary) => {
  expect(boundaryOf(contentType)).toBe(boundary)
})
