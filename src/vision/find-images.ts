import { isRecord, type Outline, type Span } from './json-outline.ts'

/** The shape of a request: of `/v1/chat/completions`, `/v1/responses` or `/v1/messages`. */
export type Shape = 'chat' | 'responses' | 'messages'

/** An image in a request. */
export interface FoundImage {
  /** Like `messages[0].content[1].image_url.url`. */
  readonly place: string
  /** The string that is its URL, or its base64. */
  readonly text: Span
  /** Whether the string is bare base64, rather than a URL, which may be a data URL. */
  readonly isBase64: boolean
  /** The object to be replaced if the image is to be given in another way; undefined if the string alone is. */
  readonly source: Span | undefined
}

/** Lists within lists: a tool's result within a message, an image within a document within that. */
const DEEPEST = 4

/** Where the images are in a request. What is not as the shape has it is left to the model's server to refuse. */
export function findImages(shape: Shape, outline: Outline): FoundImage[] {
  const { value } = outline
  if (!isRecord(value)) return []
  if (shape === 'responses') return [...inEach(value.input, 'input', (item) => inItem(item, outline))]
  return [
    ...inEach(value.messages, 'messages', ({ content }) =>
      shape === 'chat'
        ? inEach(content, '.content', (part) => inPart(part, outline))
        : inBlocks(content, '.content', { outline, depth: 0 }),
    ),
  ]
}

type Members = Readonly<Record<string, unknown>>

/** The images in the objects of a list, if it is one. Their places are put together only here, as most objects have none. */
function* inEach(
  list: unknown,
  name: string,
  inside: (item: Members) => Iterable<FoundImage>,
): Generator<FoundImage> {
  if (!Array.isArray(list)) return
  for (const [index, item] of list.entries()) {
    if (!isRecord(item)) continue
    for (const image of inside(item)) yield { ...image, place: `${name}[${index}]${image.place}` }
  }
}

/** A part of a message to chat completions, or of an item of a response's input: `image_url` is the URL, or an object with it. */
function inPart({ image_url: image }: Members, outline: Outline): FoundImage[] {
  const [value, place] = isRecord(image) ? [image.url, '.image_url.url'] : [image, '.image_url']
  const text = outline.textOf(value)
  return text ? [{ place, text, isBase64: false, source: undefined }] : []
}

/** A message, or what a tool or a screen gave. */
function* inItem({ content, output }: Members, outline: Outline): Generator<FoundImage> {
  yield* inEach(content, '.content', (part) => inPart(part, outline))
  yield* inEach(output, '.output', (part) => inPart(part, outline))
  if (!isRecord(output)) return
  for (const image of inPart(output, outline)) yield { ...image, place: `.output${image.place}` }
}

/** Blocks in Anthropic's shape: images, and what may hold blocks itself. */
function inBlocks(
  list: unknown,
  name: string,
  { outline, depth }: { outline: Outline; depth: number },
): Iterable<FoundImage> {
  if (depth > DEEPEST) return []
  const within = { outline, depth: depth + 1 }
  return inEach(list, name, function* ({ type, source, content }) {
    const found = outline.objectOf(source)
    if (type === 'image') {
      if (found) yield* inSource(found, outline)
      return
    }
    yield* inBlocks(content, '.content', within)
    yield* inBlocks(found?.members.content, '.source.content', within)
  })
}

function inSource(
  { span, members }: NonNullable<ReturnType<Outline['objectOf']>>,
  outline: Outline,
): FoundImage[] {
  const isBase64 = members.type === 'base64'
  if (!isBase64 && members.type !== 'url') return []
  const member = isBase64 ? 'data' : 'url'
  const text = outline.textOf(members[member])
  return text ? [{ place: `.source.${member}`, text, isBase64, source: span }] : []
}
