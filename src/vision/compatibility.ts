import { FORMATS, type Format, type Header } from '../formats.ts'
import { APIS, type Api, DATED, type Limits } from './limits.ts'

/** What is known of an image without decoding it. */
export interface ImageFacts extends Header {
  readonly bytes: number
  readonly format: Format
}

/** One thing that keeps an image from being taken. */
export interface Reason {
  readonly code: 'bytes' | 'sides' | 'pixels' | 'ratio' | 'format' | 'animation'
  /** A sentence. */
  readonly message: string
  readonly actual: number | string
  readonly limit: number | string
}

/** What a copy must be like to be taken: the picture scaled down as a whole, never enlarged, cropped or padded. */
export interface Target {
  readonly width: number
  readonly height: number
  /** In the order of preference. */
  readonly formats: readonly Format[]
  readonly animated: boolean
  readonly bytes: number | undefined
}

const count = (value: number) => String(value).replace(/\B(?=(\d{3})+$)/g, ',')
const decimals = (value: number) => Number(value.toFixed(3))

/** An animated PNG is a still to whoever knows no better: its first frame is a PNG like any other. */
const moves = ({ animated, format }: ImageFacts) => animated && format !== 'png'

/** Why an image is not taken; empty if it is. Every reason that there is. */
export function reasonsAgainst(limits: Limits, image: ImageFacts): Reason[] {
  const { width, height } = image
  return [
    ...againstBytes(limits, image),
    ...againstSides(limits, image),
    ...atMost('pixels', width * height, limits.maxPixels, (limit) => ({
      message: `It has ${count(width * height)} pixels; at most ${limit} are taken.`,
    })),
    ...againstRatio(limits, image),
    ...againstFormat(limits, image),
  ]
}

function againstBytes({ bytes: most }: Limits, { bytes }: ImageFacts): Reason[] {
  return atMost('bytes', bytes, most, (limit) => ({
    message: `It has ${count(bytes)} bytes; at most ${limit} are taken.`,
  }))
}

function atMost(
  code: Reason['code'],
  actual: number,
  limit: number | undefined,
  say: (limit: string) => { message: string },
): Reason[] {
  return limit === undefined || actual <= limit ? [] : [{ code, ...say(count(limit)), actual, limit }]
}

function againstSides({ minSide = 0, maxSide }: Limits, { width, height }: ImageFacts): Reason[] {
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)]
  const tooLong = atMost('sides', longer, maxSide, (limit) => ({
    message: `Its longer side has ${count(longer)} pixels; at most ${limit} are taken.`,
  }))
  if (shorter >= minSide) return tooLong
  const message = `Its shorter side has ${count(shorter)} pixels; at least ${count(minSide)} are needed.`
  return [...tooLong, { code: 'sides', message, actual: shorter, limit: minSide }]
}

function againstRatio({ ratio }: Limits, { width, height }: ImageFacts): Reason[] {
  const actual = width / height
  if (ratio === undefined || (actual >= ratio[0] && actual <= ratio[1])) return []
  const message = `Its width is ${decimals(actual)} times its height; between ${ratio[0]} and ${ratio[1]} is taken.`
  return [
    { code: 'ratio', message, actual: decimals(actual), limit: actual < ratio[0] ? ratio[0] : ratio[1] },
  ]
}

function againstFormat({ formats, animated }: Limits, image: ImageFacts): Reason[] {
  const type = FORMATS[image.format].mediaType
  if (!formats.includes(image.format)) {
    const limit = formats.map((format) => FORMATS[format].mediaType).join(', ')
    return [{ code: 'format', message: `It is ${type}; taken are ${limit}.`, actual: type, limit }]
  }
  if (animated || !moves(image)) return []
  return [
    {
      code: 'animation',
      message: 'It is animated; only stills are taken.',
      actual: 'animated',
      limit: 'still',
    },
  ]
}

/**
 * What a copy of an image must be like to be taken; undefined where no smaller copy is, as its sides or their ratio would be wrong
 * whatever its size. The whole picture in the largest size that the sides and pixels allow.
 */
export function targetOf(limits: Limits, image: ImageFacts): Target | undefined {
  const { maxSide = Number.POSITIVE_INFINITY, minSide = 1, maxPixels = Number.POSITIVE_INFINITY } = limits
  if (againstRatio(limits, image).length > 0) return undefined
  const [shorter, longer] = [image.width, image.height].sort((a, b) => a - b) as [number, number]
  const sizeAt = (side: number) => {
    const other = Math.max(1, Math.round((shorter * side) / longer))
    return image.width < image.height ? { width: other, height: side } : { width: side, height: other }
  }
  const isOut = ({ width, height }: { width: number; height: number }) =>
    width * height > maxPixels || againstRatio(limits, { ...image, width, height }).length > 0
  let side = Math.min(longer, maxSide, Math.ceil(Math.sqrt((maxPixels * longer) / shorter)))
  // Rounding the shorter side may have been a pixel too much, or have changed the ratio.
  for (let tries = 0; tries < 100 && side > 1 && isOut(sizeAt(side)); tries += 1) side -= 1
  const { width, height } = sizeAt(side)
  if (Math.min(width, height) < minSide || isOut({ width, height })) return undefined
  const animated = moves(image) && limits.animated && limits.formats.includes(image.format)
  const formats = limits.formats.includes(image.format)
    ? [image.format, ...limits.formats.filter((format) => format !== image.format)]
    : limits.formats
  return { width, height, formats, animated, bytes: limits.bytes }
}

/** Whether each API takes the image: what an upload's answer says. */
export function compatibilityOf(image: ImageFacts): Record<string, boolean> {
  return Object.fromEntries(APIS.map((api) => [api.id, reasonsAgainst(api, image).length === 0]))
}

/** The same with the reasons, and with what would be taken instead. */
export function explainCompatibility(image: ImageFacts) {
  return { dated: DATED, apis: APIS.map((api) => explain(api, image)) }
}

function explain(api: Api, image: ImageFacts) {
  const reasons = reasonsAgainst(api, image)
  const accepted = reasons.length === 0
  const target = accepted ? undefined : targetOf(api, image)
  const { basis, source, date, note = null } = api
  const row = { basis, source, date, note }
  const wouldFit = target && {
    width: target.width,
    height: target.height,
    mime_types: target.formats.map((format) => FORMATS[format].mediaType),
    animated: target.animated,
    max_bytes: target.bytes ?? null,
  }
  return { api: api.id, name: api.name, accepted, reasons, would_fit: wouldFit ?? null, ...row }
}
