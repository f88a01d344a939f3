import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

interface Media {
  readonly schema: object
}

interface Documented {
  readonly description: string
  readonly headers?: Readonly<Record<string, { readonly schema: object }>>
  readonly content?: Readonly<Record<string, Media>>
}

export interface Operation {
  readonly operationId: string
  readonly security?: readonly object[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
  readonly responses: Readonly<Record<string, Documented>>
}

export interface ApiDocument {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, object>> }
}

/** Headers of the connection and the message, which no document names. */
const OF_HTTP = ['connection', 'keep-alive', 'transfer-encoding', 'date', 'content-type', 'content-length']

/** Says what in an answer is not as the document has it; an empty list if nothing. */
export function checker(document: ApiDocument) {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats.default(ajv)
  ajv.addSchema({ ...document, $id: 'openapi' })

  /** The errors of a value by the schema that a pointer into the document leads to. */
  function errorsOf(value: unknown, ...way: string[]): string[] {
    const pointer = way.map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1')))
    const validate = ajv.getSchema(`openapi#/${pointer.join('/')}`)
    if (validate === undefined) return [`there is no ${way.join(' ')}`]
    validate(value)
    return (validate.errors ?? []).map(
      ({ instancePath, message }) => `${way.at(-2)} ${instancePath} ${message}`,
    )
  }

  return async (method: string, path: string, response: Response): Promise<string[]> => {
    const way = ['paths', path, method.toLowerCase(), 'responses', String(response.status)]
    const documented = document.paths[path]?.[method.toLowerCase()]?.responses[response.status]
    if (documented === undefined) return [`status ${response.status} is not documented`]
    const problems: string[] = []

    const names = new Map(Object.keys(documented.headers ?? {}).map((name) => [name.toLowerCase(), name]))
    for (const [name, value] of response.headers) {
      const known = names.get(name)
      if (known === undefined && !OF_HTTP.includes(name)) problems.push(`header ${name} is not documented`)
      if (known === undefined) continue
      const { schema } = documented.headers?.[known] ?? {}
      const isNumber = (schema as { type?: string }).type === 'integer'
      problems.push(...errorsOf(isNumber ? Number(value) : value, ...way, 'headers', known, 'schema'))
    }

    const bytes = await response.arrayBuffer()
    const type = response.headers.get('content-type')?.split(';')[0] ?? ''
    if (documented.content === undefined) {
      if (bytes.byteLength > 0) problems.push('there is a body')
    } else if (documented.content[type] === undefined) problems.push(`content type ${type} is not documented`)
    else {
      const text = new TextDecoder().decode(bytes)
      const value = type === 'application/json' ? JSON.parse(text) : text
      problems.push(...errorsOf(value, ...way, 'content', type, 'schema'))
    }
    return problems
  }
}
