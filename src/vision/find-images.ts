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
  if (shape === 'responses')
    return itemsOf(value.input, 'input').flatMap(([item, at]) => inItem(item, at, outline))
  const messages = itemsOf(value.messages, 'messages')
  return messages.flatMap(([{ content }, at]) =>
    shape === 'chat'
      ? itemsOf(content, `${at}.content`).flatMap(([part, at]) => inPart(part, at, outline))
      : inBlocks(content, `${at}.content`, { outline, depth: 0 }),
  )
}

/** The objects in a list, each with its place; none if it is no list. */
function itemsOf(list: unknown, place: string): [Record<string, unknown>, string][] {
  if (!Array.isArray(list)) return []
  return list.flatMap((item, index) => (isRecord(item) ? [[item, `${place}[${index}]`]] : []))
}

/** A part of a message to chat completions, or of an item of a response's input: `image_url` is the URL, or an object with it. */
function inPart(
  { image_url: image }: Record<string, unknown>,
  place: string,
  outline: Outline,
): FoundImage[] {
  const [value, at] = isRecord(image) ? [image.url, `${place}.image_url.url`] : [image, `${place}.image_url`]
  const text = outline.textOf(value)
  return text ? [{ place: at, text, isBase64: false, source: undefined }] : []
}

/** A message, or what a tool or a screen gave. */
function inItem(item: Record<string, unknown>, place: string, outline: Outline): FoundImage[] {
  const { content, output } = item
  const lists = [...itemsOf(content, `${place}.content`), ...itemsOf(output, `${place}.output`)]
  if (isRecord(output)) lists.push([output, `${place}.output`])
  return lists.flatMap(([part, at]) => inPart(part, at, outline))
}

/** Blocks in Anthropic's shape: images, and what may hold blocks itself. */
function inBlocks(
  list: unknown,
  place: string,
  { outline, depth }: { outline: Outline; depth: number },
): FoundImage[] {
  if (depth > DEEPEST) return []
  return itemsOf(list, place).flatMap(([{ type, source, content }, at]) => {
    const found = outline.objectOf(source)
    const within = { outline, depth: depth + 1 }
    if (type === 'image') return found ? inSource(found, `${at}.source`, outline) : []
    return [
      ...inBlocks(content, `${at}.content`, within),
      ...inBlocks(found?.members.content, `${at}.source.content`, within),
    ]
  })
}

function inSource(
  { span, members }: NonNullable<ReturnType<Outline['objectOf']>>,
  place: string,
  outline: Outline,
): FoundImage[] {
  const isBase64 = members.type === 'base64'
  if (!isBase64 && members.type !== 'url') return []
  const member = isBase64 ? 'data' : 'url'
  const text = outline.textOf(members[member])
  return text ? [{ place: `${place}.${member}`, text, isBase64, source: span }] : []
}
