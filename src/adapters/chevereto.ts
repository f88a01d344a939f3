import { STATUS_CODES } from 'node:http'
import { FORMATS } from '../formats.ts'
import { fileMissing, readForm, refuseTooLarge } from '../intake/multipart.ts'
import { refuseBadOptions, type Translate } from '../intake/options.ts'
import { type ImageName, imageId } from '../name.ts'
import { jsonText } from '../problem-text.ts'
import type { Deps } from '../routes/deps.ts'
import { refuseOtherMethods } from '../routes/other-methods.ts'
import { takeUpload, type Uploaded } from '../routes/take-upload.ts'
import { type Adapter, TEXT } from './adapter.ts'
import { CHEVERETO } from './describe-adapters.ts'
import { takeFromUrl } from './from-url.ts'
import { hashed } from './hashed.ts'

const URL = '/api/1/upload'
const PART = 'source'

/** What Chevereto says of an error. Its own numbers for errors are not ours to give, so that of the status stands in their place. */
const problemText = jsonText(({ status, message, code }) => ({
  status_code: status,
  error: { message, code: status, context: code },
  status_txt: STATUS_CODES[status],
}))

/** Chevereto's `POST /api/1/upload`, as its documentation of API V1 has it. */
export const chevereto: Adapter = ({ app, deps, enter, doors }) => {
  const { config } = deps
  const onRequest = [
    enter(['x-api-key', 'query']),
    refuseTooLarge(config.maxFileSize),
    refuseBadOptions(config, translate),
    doors.mayUpload(),
  ]
  app.post(URL, { onRequest, schema: CHEVERETO, config: { problemText } }, async (request, reply) => {
    const { body, fields } = await readForm(request, config.maxFileSize, PART)
    const hashing = body && hashed(body, 'md5')
    const upload = { request, reply, translate }
    const stored = hashing
      ? await takeUpload({ ...upload, incoming: { body: hashing.body, fields } }, deps)
      : await takeFromUrl(urlIn(fields), { ...upload, incoming: { fields } }, { deps, doors })
    const { format } = request.query as { format?: unknown }
    if ((format ?? fields.get('format')) === 'txt') return reply.type(TEXT).send(deps.urlOf(stored.name))
    return {
      status_code: 200,
      success: { message: 'file uploaded', code: 200 },
      image: imageOf(stored, hashing?.digests().md5 ?? null, deps),
      status_txt: 'OK',
    }
  })
  refuseOtherMethods(app, URL, ['POST'], { problemText })
}

/** The URL that came where a file could have; base64, which could have, too, is longer than fields are read. */
function urlIn(fields: ReadonlyMap<string, string>): string {
  const source = fields.get(PART)
  if (source === undefined || !/^https?:/i.test(source)) throw fileMissing([...fields.keys()], PART)
  return source
}

/** An interval of ISO 8601, such as PT5M or P3D, with months of 30 days and years of 365. */
const INTERVAL =
  /^P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/
const SECONDS = [365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1]

const translate: Translate = ({ query }, fields) => {
  const given = (query as { expiration?: unknown }).expiration ?? fields.get('expiration')
  if (given === undefined || given === '') return undefined
  const [, ...numbers] = INTERVAL.exec(String(given)) ?? []
  const seconds = SECONDS.reduce((sum, unit, index) => sum + unit * Number(numbers[index] ?? 0), 0)
  const form = 'an interval like PT5M or P3D'
  return { name: 'expiration', form, seconds: numbers.length > 0 ? seconds : Number.NaN }
}

/** All members of the documented example that say something here; a size of its own, such as a thumbnail, is the image itself. */
function imageOf({ name, size, header }: Uploaded, md5: string | null, { urlOf, deleteUrlOf }: Deps) {
  const { mediaType } = FORMATS[name.format]
  const [base = '', extension = ''] = name.text.split('.')
  const url = urlOf(name)
  const itself = { filename: name.text, name: base, mime: mediaType, extension, url, size }
  const { width, height, animated } = header
  return {
    ...itself,
    ...{ width, height, date: dateOf(name.created), date_gmt: dateOf(name.created), title: base },
    ...{ tags: [], description: null, nsfw: 0, md5, original_filename: name.text, type: 'image' },
    expiration_date_gmt: expiryOf(name),
    is_animated: animated ? 1 : 0,
    id_encoded: imageId(name),
    ratio: width / height,
    size_formatted: sizeText(size),
    ...{ image: itself, thumb: itself, medium: itself },
    ...{ url_viewer: url, url_short: url, display_url: url, display_width: width, display_height: height },
    delete_url: deleteUrlOf(name),
  }
}

const expiryOf = ({ expires }: ImageName) => (Number.isFinite(expires) ? dateOf(expires) : null)

/** Unix seconds as 2026-11-21 19:46:26, in UTC. */
const dateOf = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')

function sizeText(size: number): string {
  const [unit, name] = size < 1024 ** 2 ? [1024, 'KB'] : [1024 ** 2, 'MB']
  return size < 1024 ? `${size} B` : `${Math.round((size / unit) * 10) / 10} ${name}`
}
