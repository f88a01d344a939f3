import { fixture } from './images.ts'

/**
 * What programs that do not run here would do with the configurations they are given: each is read by the rules of the program’s own
 * documentation or source, and nothing of it is taken from this project’s.
 */

/** What a program has in the end. */
export interface Outcome {
  readonly url?: string
  readonly deletionUrl?: string
  readonly error?: string
}

function photoForm(field: string, before: Record<string, string> = {}): FormData {
  const body = new FormData()
  for (const [name, value] of Object.entries(before)) body.append(name, value)
  body.append(field, new Blob([new Uint8Array(fixture('photo.jpg'))], { type: 'image/jpeg' }), 'photo.jpg')
  return body
}

interface Sxcu {
  readonly Version: string
  readonly DestinationType: string
  readonly RequestMethod: string
  readonly RequestURL: string
  readonly Headers: Record<string, string>
  readonly Body: string
  readonly FileFormName: string
  readonly URL: string
  readonly DeletionURL: string
  readonly ErrorMessage: string
}

/** ShareX 15: `CustomUploaderItem.cs`, and `ShareXSyntaxParser.cs` for the texts with functions in them. */
export async function asShareX(sxcu: string): Promise<Outcome> {
  const item = JSON.parse(sxcu) as Sxcu
  const [major = 0] = item.Version.split('.').map(Number)
  if (major < 14) throw new Error('ShareX would take it for the syntax of before 13.7.1, or refuse it')
  if (item.DestinationType !== 'ImageUploader' || item.Body !== 'MultipartFormData')
    throw new Error('ShareX would not send an image')
  const none = () => {
    throw new Error('a function in the request')
  }
  const headers = Object.entries(item.Headers).map(([name, value]): [string, string] => {
    if (value.includes('%')) throw new Error('ShareX would put the date in')
    return [name, withFunctions(value, none)]
  })
  const url = withFunctions(item.RequestURL, none)
  if (url.includes('?')) throw new Error('ShareX would take the query apart')
  const answer = await fetch(url, { method: item.RequestMethod, headers, body: photoForm(item.FileFormName) })
  const text = await answer.text()
  const call = (name: string, parameter: string) => {
    if (name === 'json') return String(memberAt(JSON.parse(text), parameter.split('.')) ?? '')
    if (name === 'header') return answer.headers.get(parameter) ?? ''
    throw new Error(`Invalid function name: ${name}`)
  }
  if (!answer.ok) return { error: withFunctions(item.ErrorMessage, call) }
  return { url: withFunctions(item.URL, call), deletionUrl: withFunctions(item.DeletionURL, call) }
}

/** `{name:parameter}` is a call, and `\` takes the next character as it is. Calls within calls are not among our texts. */
export function withFunctions(text: string, call: (name: string, parameter: string) => string): string {
  return text.replace(
    /\\(.)|\{(\w+)(?::([^{}|\\]*))?\}|([{}|\\])/g,
    (all, escaped, name, parameter, stray) => {
      if (stray !== undefined) throw new Error(`a stray ${stray} in ${text}`)
      return escaped ?? (name === undefined ? all : call(name, parameter ?? ''))
    },
  )
}

function memberAt(value: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, step) => (inner as Record<string | number, unknown> | undefined)?.[step],
    value,
  )
}

/** uPic 0.21: `ConfigManager.importHosts`, `Host.deserialize` and `CustomUploader._upload`. */
export async function asUPic(file: string): Promise<Outcome> {
  const [imported = ''] = JSON.parse(file) as string[]
  const host = JSON.parse(imported) as { id: number; name: string; type: number; data: string }
  if (host.type !== -1 || !Number.isSafeInteger(host.id)) throw new Error('uPic would not import it')
  const config = JSON.parse(host.data) as Record<string, string>
  const pairs = (text = '') => JSON.parse(text) as { key: string; value: string }[]
  const headers = pairs(config.headers).map(({ key, value }): [string, string] => [key, value])
  const bodies = Object.fromEntries(pairs(config.bodys).map(({ key, value }) => [key, value]))
  // It sends what the file would be saved as before the file itself.
  const body = photoForm(config.field ?? '', { ...bodies, key: 'uPic/photo.jpg' })
  const answer = await fetch(config.url ?? '', { method: config.method ?? '', headers, body })
  if (!answer.ok) return { error: `status ${answer.status}` }
  const path = JSON.parse((config.resultPath ?? '').replaceAll("'", '"')) as (string | number)[]
  const url = String(memberAt(await answer.json(), path) ?? '')
  return { url: `${config.domain === '' ? '' : `${config.domain}/`}${url}${config.suffix}` }
}

/** PicList 3: `plugins/uploader/advancedplist.ts`. */
export async function asPicList(file: string): Promise<Outcome> {
  const { picBed } = JSON.parse(file) as { picBed: Record<string, Record<string, string>> }
  if (String(picBed.uploader) !== 'advancedplist') throw new Error('PicList would use another uploader')
  const {
    endpoint = '',
    method = '',
    formDataKey = '',
    headers = '',
    resDataPath = '',
  } = picBed.advancedplist ?? {}
  const answer = await fetch(endpoint, { method, headers: JSON.parse(headers), body: photoForm(formDataKey) })
  const body = (await answer.json()) as { message?: string }
  const url = memberAt(body, resDataPath.split('.'))
  return typeof url === 'string' ? { url } : { error: body.message ?? '' }
}
