import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

/** What a request asks for, in the words of the S3 API. */
export type Operation =
  | 'PutObject'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  | 'DeleteObjects'
  | 'ListObjectsV2'
  | 'HeadBucket'
  | 'CreateBucket'
  | 'GetBucketLifecycle'
  | 'PutBucketLifecycle'
  | 'DeleteBucketLifecycle'
  | 'GetBucketVersioning'

/** What goes wrong: an error's status and code, or something that no server does when asked to. */
export type Fault =
  | { readonly status: number; readonly code: string }
  /** Closes the connection in the middle of whichever body there is. */
  | 'reset'
  /** Takes the request, and never answers. */
  | 'hang'
  /** Does as it was told, and closes the connection before the answer. */
  | 'lose the answer'
  /** Does as it was told, but only a while later, whether or not anybody still waits for the answer. */
  | 'be late'
  /** Refuses with 403 before it has read the body, and keeps the connection. */
  | 'refuse early'
  /** Stores, or has, other bytes than it was sent. */
  | 'wrong bytes'
  /** Begins a body and then stops sending. */
  | 'stall'
  /** Answers with an ETag that is no MD5 of the bytes. */
  | 'strange ETag'
  /** Does not delete the first of several. */
  | 'keep one'
  /** Lists what there is in no order. */
  | 'no order'
  /** Lists each page in order, but the last page first. */
  | 'no order of pages'
  /** Says that there are more pages, but not where. */
  | 'no next page'
  /** Answers as something that is no S3 server. */
  | 'no S3'

export interface FaultyS3 extends AsyncDisposable {
  readonly endpoint: string
  /** What is stored, by key. */
  readonly objects: Map<string, StoredObject>
  /** How late is late, in milliseconds. */
  late: number
  /** Lifecycle rules as XML, if any are set. */
  lifecycle: string | undefined
  /** Connections that it has taken, in all. */
  readonly connections: number
  /** The operations asked for, in order. */
  readonly asked: Operation[]
  /** Makes requests fail, the next `times` of them. */
  fail(operation: Operation, fault: Fault, times?: number): void
  /** Ends all faults. */
  heal(): void
}

export interface StoredObject {
  readonly bytes: Buffer
  readonly headers: Readonly<Record<string, string>>
}

const KEPT_HEADERS = ['content-type', 'cache-control', 'expires', 'content-md5']

/** An S3 server in memory, with one bucket, that fails on demand. It lists `pageSize` keys a page, and checks no signature. */
export async function startFaultyS3({
  pageSize = 1000,
  bucket = 'bucket',
  /** Whether it heeds If-None-Match. */
  heedsConditions = true,
} = {}): Promise<FaultyS3> {
  const objects = new Map<string, StoredObject>()
  const asked: Operation[] = []
  const faults = new Map<Operation, { fault: Fault; left: number }>()
  const state = { lifecycle: undefined as string | undefined, exists: true, late: 300 }

  function nextFault(operation: Operation): Fault | undefined {
    const found = faults.get(operation)
    if (found === undefined || found.left === 0) return undefined
    found.left -= 1
    return found.fault
  }

  const server = createServer(async (request, response) => {
    try {
      await handle(request, response)
    } catch {
      request.destroy()
    }
  })

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const [, name, ...path] = decodeURIComponent(url.pathname).split('/')
    const key = path.join('/')
    const operation = operationOf(request.method ?? '', key, url.searchParams)
    asked.push(operation)
    const fault = nextFault(operation)

    if (fault === 'hang') return
    if (fault === 'refuse early') return refuse(response, 403, 'AccessDenied')
    if (fault === 'reset' && operation === 'PutObject') {
      // With more than one piece, in the middle of it.
      request.once('data', () => request.destroy())
      return
    }
    const body = await buffer(request)
    if (fault === 'reset' && operation !== 'GetObject') return void request.socket.destroy()
    if (fault === 'no S3') return void response.end('<html><title>Welcome</title></html>')
    if (typeof fault === 'object') return refuse(response, fault.status, fault.code)
    if (name !== bucket || (!state.exists && operation !== 'CreateBucket'))
      return refuse(response, 404, 'NoSuchBucket')
    if (fault === 'be late') await new Promise((resolve) => setTimeout(resolve, state.late))
    const answer = operations[operation]({ request, key, query: url.searchParams, body, fault })
    if (fault === 'lose the answer') return void request.socket.destroy()
    const { status = 200, headers = {}, text = '', bytes = Buffer.from(text) } = answer
    response.writeHead(status, { 'content-length': bytes.length, ...headers })
    if (fault === 'stall' || fault === 'reset') {
      response.write(bytes.subarray(0, bytes.length / 2), () => fault === 'reset' && response.destroy())
      return
    }
    response.end(request.method === 'HEAD' ? undefined : bytes)
  }

  const operations: Record<Operation, (asked: Asked) => Answer> = {
    PutObject({ request, key, body, fault }) {
      const { 'content-md5': md5, 'if-none-match': condition } = request.headers
      if (md5 !== undefined && md5 !== digest(body, 'base64')) return error(400, 'BadDigest')
      if (heedsConditions && condition === '*' && objects.has(key)) return error(412, 'PreconditionFailed')
      const kept = KEPT_HEADERS.filter((header) => header in request.headers)
      const headers = kept.map((header) => [header, String(request.headers[header])])
      const bytes = fault === 'wrong bytes' ? Buffer.concat([body, Buffer.of(0)]) : body
      objects.set(key, { bytes, headers: Object.fromEntries(headers) })
      const tagged = fault === 'strange ETag' ? Buffer.concat([bytes, Buffer.of(1)]) : bytes
      return { headers: { etag: `"${digest(tagged, 'hex')}"` } }
    },
    GetObject: ({ request, key, fault }) => read(key, fault, request.headers.range),
    HeadObject: ({ key, fault }) => read(key, fault),
    DeleteObject({ key }) {
      objects.delete(key)
      return { status: 204 }
    },
    DeleteObjects({ body, fault }) {
      const keys = [...String(body).matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) => key)
      const kept = fault === 'keep one' ? keys.splice(0, 1) : []
      for (const key of keys) objects.delete(key)
      const errors = kept.map((key) => `<Error><Key>${key}</Key><Code>InternalError</Code></Error>`)
      return { text: `<DeleteResult>${errors.join('')}</DeleteResult>` }
    },
    ListObjectsV2({ query, fault }) {
      const from = query.get('continuation-token') ?? query.get('start-after') ?? ''
      const size = Math.min(Number(query.get('max-keys') ?? pageSize), pageSize)
      const all = [...objects.keys()].filter((key) => key.startsWith(query.get('prefix') ?? '')).sort()
      // Each second key before the one that it should follow.
      const inPairs = (i: number) => all[i % 2 ? i - 1 : Math.min(i + 1, all.length - 1)] ?? ''
      if (fault === 'no order') all.splice(0, all.length, ...all.map((_, i) => inPairs(i)))
      if (fault === 'no order of pages') all.unshift(...all.splice(-pageSize))
      const start = all.indexOf(from) + 1 || all.findIndex((key) => fault !== undefined || key > from)
      const page = start === -1 ? [] : all.slice(start, start + size)
      const items = page.map(
        (key) => `<Contents><Key>${key}</Key><Size>${objects.get(key)?.bytes.length}</Size></Contents>`,
      )
      const isLast = page.at(-1) === all.at(-1)
      const next =
        isLast || fault === 'no next page'
          ? ''
          : `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>`
      return {
        text: `<ListBucketResult><IsTruncated>${!isLast}</IsTruncated>${next}${items.join('')}</ListBucketResult>`,
      }
    },
    HeadBucket: () => ({}),
    CreateBucket() {
      state.exists = true
      return {}
    },
    GetBucketLifecycle: () =>
      state.lifecycle === undefined ? error(404, 'NoSuchLifecycleConfiguration') : { text: state.lifecycle },
    PutBucketLifecycle({ body }) {
      state.lifecycle = String(body)
      return {}
    },
    DeleteBucketLifecycle() {
      state.lifecycle = undefined
      return { status: 204 }
    },
    GetBucketVersioning: () => ({ text: '<VersioningConfiguration></VersioningConfiguration>' }),
  }

  function read(key: string, fault: Fault | undefined, range = ''): Answer {
    const found = objects.get(key)
    if (found === undefined) return error(404, 'NoSuchKey')
    const { headers } = found
    const bytes = fault === 'wrong bytes' ? Buffer.concat([found.bytes, Buffer.of(0)]) : found.bytes
    const etag = `"${digest(bytes, 'hex')}"`
    const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? []
    if (start === undefined) return { bytes, headers: { ...headers, etag } }
    const part = bytes.subarray(Number(start), Number(end) + 1)
    const contentRange = `bytes ${start}-${end}/${bytes.length}`
    return { status: 206, bytes: part, headers: { ...headers, etag, 'content-range': contentRange } }
  }

  let connections = 0
  server.on('connection', () => {
    connections += 1
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objects,
    asked,
    get connections() {
      return connections
    },
    get late() {
      return state.late
    },
    set late(milliseconds) {
      state.late = milliseconds
    },
    get lifecycle() {
      return state.lifecycle
    },
    set lifecycle(rules) {
      state.lifecycle = rules
    },
    fail: (operation, fault, times = Number.POSITIVE_INFINITY) => {
      faults.set(operation, { fault, left: times })
    },
    heal: () => faults.clear(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface Asked {
  readonly request: IncomingMessage
  readonly key: string
  readonly query: URLSearchParams
  readonly body: Buffer
  readonly fault: Fault | undefined
}

interface Answer {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly text?: string
  readonly bytes?: Buffer
}

function operationOf(method: string, key: string, query: URLSearchParams): Operation {
  if (query.has('lifecycle'))
    return (
      ({ GET: 'GetBucketLifecycle', PUT: 'PutBucketLifecycle' } as const)[method] ?? 'DeleteBucketLifecycle'
    )
  if (query.has('versioning')) return 'GetBucketVersioning'
  if (query.has('delete')) return 'DeleteObjects'
  const ofBucket = { GET: 'ListObjectsV2', HEAD: 'HeadBucket', PUT: 'CreateBucket' } as const
  const ofObject = { GET: 'GetObject', HEAD: 'HeadObject', PUT: 'PutObject', DELETE: 'DeleteObject' } as const
  const operation = (key === '' ? ofBucket : ofObject)[method as 'GET']
  if (operation === undefined) throw new Error(`not an operation: ${method}`)
  return operation
}

function digest(bytes: Buffer, encoding: 'base64' | 'hex'): string {
  return createHash('md5').update(bytes).digest(encoding)
}

function error(status: number, code: string): Answer {
  return { status, text: `<Error><Code>${code}</Code><Message>${code}</Message></Error>` }
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status).end(error(status, code).text)
}
