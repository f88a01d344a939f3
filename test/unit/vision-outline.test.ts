import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findImages } from '../../src/vision/find-images.ts'
import { isRecord, JsonOutliner, type Outline } from '../../src/vision/json-outline.ts'

/** Reads a text in pieces that end at these places. */
function outline(text: string, cuts: readonly number[] = [], limit = 2 ** 20): Outline {
  const bytes = Buffer.from(text)
  const outliner = new JsonOutliner(limit)
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  let at = 0
  for (const end of ends) {
    outliner.push(bytes.subarray(at, end))
    at = end
  }
  return outliner.end()
}

/** The whole value again, with what was set aside read from where it is said to stand. */
function restored(value: unknown, text: string, found: Outline): unknown {
  const bytes = Buffer.from(text)
  const aside = found.textOf(value)
  if (aside) return JSON.parse(bytes.toString('utf8', aside.start, aside.end))
  const object = found.objectOf(value)
  if (object) return JSON.parse(bytes.toString('utf8', object.span.start, object.span.end))
  if (Array.isArray(value)) return value.map((item) => restored(item, text, found))
  if (!isRecord(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, restored(item, text, found)]))
}

const strings = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ minLength: 200, maxLength: 600 }),
  fc.constantFrom('\\', '\\\\"', '"}', '{"source":{', '\\u0000', 'data:image/png;base64,AAAA'),
)
const names = fc.oneof(
  fc.constantFrom('url', 'image_url', 'data', 'source', 'type', 'content', 'a"b', '\\', ''),
  fc.string({ maxLength: 8 }),
)
const { value: jsonValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    strings,
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
    tie('list'),
    tie('object'),
  ),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(
    names.filter((name) => name !== '__proto__'),
    tie('value'),
    { maxKeys: 5 },
  ),
}))

describe('the outline of a JSON text', () => {
  test('says what the text says, however it is written and wherever it is cut', () => {
    const styles = fc.constantFrom(undefined, ' ', '\t', '    ')
    const cuts = fc.array(fc.nat(4000), { maxLength: 12 })
    fc.assert(
      fc.property(jsonValue, styles, cuts, (value, style, cuts) => {
        const text = JSON.stringify(value, undefined, style)
        const found = outline(text, cuts)
        expect(restored(found.value, text, found)).toEqual(JSON.parse(text))
      }),
      { numRuns: 500 },
    )
  })

  test('takes names that are written with escapes for what they are', () => {
    const text = '{"messages":[{"content":[{"image_\\u0075rl":{"\\u0075rl":"https://x/y"}}]}]}'
    const found = outline(text)
    expect(findImages('chat', found)).toHaveLength(1)
  })

  test('is no JSON where the text is none, wherever that shows', () => {
    const broken = [
      '',
      '{',
      '{"a":}',
      '{"source":{]}',
      '{"source":{}',
      '{"url":"x}',
      '[1}',
      '{"a":1}}',
      '{"source":}',
      '{"data":"\u0001"',
    ]
    for (const text of broken) expect(() => outline(text), text).toThrow(SyntaxError)
    const latin1 = new JsonOutliner(100)
    latin1.push(Buffer.from('{"a":"\xe9"}', 'latin1'))
    expect(() => latin1.end()).toThrow(SyntaxError)
  })

  test('is bounded but for long strings', () => {
    const long = JSON.stringify({ text: 'x'.repeat(100_000) })
    expect(() => outline(long, [], 2000)).not.toThrow()
    expect(() => outline(JSON.stringify(Array(1000).fill('short')), [], 2000)).toThrow(RangeError)
    // Each takes far more memory and time than its few bytes say.
    for (const empty of ['{}', '[]'])
      expect(() => outline(`[${Array(200_000).fill(empty)}]`)).toThrow(RangeError)
  })
})

describe('images are found', () => {
  const url = 'https://images.example.com/x.png'
  const source = { type: 'url', url }
  const placesIn = (shape: Parameters<typeof findImages>[0], value: object) =>
    findImages(shape, outline(JSON.stringify(value))).map(({ place }) => place)

  test('in chat completions, as an object or as a string', () => {
    const content = [
      { type: 'text', text: 'x' },
      { type: 'image_url', image_url: { url, detail: 'low' } },
      { image_url: url },
    ]
    expect(placesIn('chat', { messages: [{ role: 'user', content: 'x' }, { content }] })).toEqual([
      'messages[1].content[1].image_url.url',
      'messages[1].content[2].image_url',
    ])
  })

  test('in responses: in messages, in what tools gave, and in screenshots', () => {
    const part = { type: 'input_image', image_url: url }
    const input = [
      { role: 'user', content: [part, { type: 'input_image', file_id: 'x' }] },
      { type: 'function_call_output', output: [part] },
      { type: 'computer_call_output', output: { type: 'computer_screenshot', image_url: url } },
    ]
    expect(placesIn('responses', { input })).toEqual([
      'input[0].content[0].image_url',
      'input[1].output[0].image_url',
      'input[2].output.image_url',
    ])
    expect(placesIn('responses', { input: 'only text' })).toEqual([])
  })

  test('in messages: alone, in what tools gave and in documents made of blocks', () => {
    const image = { type: 'image', source }
    const content = [
      image,
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } },
      { type: 'image', source: { type: 'file', file_id: 'x' } },
      { type: 'tool_result', content: [image] },
      { type: 'document', source: { type: 'content', content: [image] } },
      { type: 'document', source: { type: 'url', url: 'https://example.com/x.pdf' } },
    ]
    expect(placesIn('messages', { messages: [{ content }] })).toEqual([
      'messages[0].content[0].source.url',
      'messages[0].content[1].source.data',
      'messages[0].content[3].content[0].source.url',
      'messages[0].content[4].source.content[0].source.url',
    ])
  })

  test('not elsewhere, nor where the request is not as its shape has it', () => {
    for (const value of [
      {},
      { messages: {} },
      { messages: [null, 1, { content: [null, { image_url: 1 }] }] },
      { image_url: url },
      [],
    ])
      for (const shape of ['chat', 'responses', 'messages'] as const)
        expect(placesIn(shape, value)).toEqual([])
  })
})
