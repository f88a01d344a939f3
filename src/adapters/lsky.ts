import { FORMATS } from '../formats.ts'
import { readMultipart, refuseTooLarge } from '../intake/multipart.ts'
import { refuseBadOptions } from '../intake/options.ts'
import { imageId, imagePath } from '../name.ts'
import { jsonText } from '../problem-text.ts'
import type { Deps } from '../routes/deps.ts'
import { refuseOtherMethods } from '../routes/other-methods.ts'
import { takeUpload, type Uploaded } from '../routes/take-upload.ts'
import type { Adapter } from './adapter.ts'
import { LSKY } from './describe-adapters.ts'
import { hashed } from './hashed.ts'

const URL = '/api/v1/upload'

const problemText = jsonText(({ message }) => ({ status: false, message, data: {} }))

/** Lsky Pro's `POST /api/v1/upload`. */
export const lsky: Adapter = ({ app, deps, enter, doors }) => {
  const { config } = deps
  const onRequest = [enter(), refuseTooLarge(config.maxFileSize), refuseBadOptions(config), doors.mayUpload()]
  app.post(URL, { onRequest, schema: LSKY, config: { problemText } }, async (request, reply) => {
    const { body, fields } = await readMultipart(request, config.maxFileSize)
    const hashing = hashed(body, 'md5', 'sha1')
    const stored = await takeUpload({ request, reply, incoming: { body: hashing.body, fields } }, deps)
    return { status: true, message: 'Uploaded.', data: dataOf(stored, hashing.digests(), deps) }
  })
  refuseOtherMethods(app, URL, ['POST'], { problemText })
}

function dataOf(
  { name, size }: Uploaded,
  digests: { md5: string; sha1: string },
  { urlOf, deleteUrlOf }: Deps,
) {
  const url = urlOf(name)
  const { text } = name
  return {
    key: imageId(name),
    ...{ name: text, pathname: imagePath(name), origin_name: text },
    // Of 1024 bytes, as Lsky Pro has it.
    size: size / 1024,
    mimetype: FORMATS[name.format].mediaType,
    extension: text.split('.')[1],
    ...digests,
    links: {
      url,
      html: `<img src="${url}" alt="${text}" title="${text}" />`,
      bbcode: `[img]${url}[/img]`,
      markdown: `![${text}](${url})`,
      markdown_with_link: `[![${text}](${url})](${url})`,
      thumbnail_url: url,
      delete_url: deleteUrlOf(name),
    },
  }
}
