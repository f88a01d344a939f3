import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { S3Client } from '@aws-sdk/client-s3'

/** Milliseconds in which a connection must stand. */
const CONNECT_TIMEOUT = 5000
/** Where a bucket is and how to speak to it. */
export interface S3Connection {
  /** Address of the server; none for AWS, by region. */
  readonly endpoint?: string | undefined
  readonly region: string
  /** None to look for them where AWS's own tools do, for example in the machine's role. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined
  readonly forcePathStyle: boolean
}

/** What the kit has to say is said by the errors that it throws. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

export interface ClientLimits {
  /** Connections at once; further calls wait for one. */
  readonly maxSockets: number
  /** Milliseconds for which a call may be silent, both ways; 0 for ever. */
  readonly silence: number
}

/**
 * A client that speaks what every server understands, keeps its connections, and tries each call once.
 *
 * Checksums beyond MD5 and `Expect` are left out, as there are servers that refuse them, hang, or store them with the
 * object. Trying again is for the caller, who can open the bytes anew.
 */
export function s3Client(connection: S3Connection, { maxSockets, silence }: ClientLimits): S3Client {
  const options = { keepAlive: true, maxSockets, scheduling: 'lifo' } as const
  const { endpoint, credentials, region, forcePathStyle } = connection
  return new S3Client({
    region,
    forcePathStyle,
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials && { credentials }),
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    maxAttempts: 1,
    logger: SILENT,
    requestHandler: {
      httpAgent: withConnectTimeout(new HttpAgent(options)),
      httpsAgent: withConnectTimeout(new HttpsAgent(options)),
      socketTimeout: silence,
      logger: SILENT,
    },
  })
}

/**
 * Gives up a connection that does not come to stand. The kit's own `connectionTimeout` also counts the time for which a call
 * waits for a free connection, so that it fails calls when many wait.
 */
function withConnectTimeout<A extends HttpAgent>(agent: A): A {
  const create = agent.createConnection.bind(agent)
  agent.createConnection = (options, done) => {
    const socket = create(options, done)
    const reason = Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => socket?.destroy(reason), CONNECT_TIMEOUT)
    const ready = agent instanceof HttpsAgent ? 'secureConnect' : 'connect'
    for (const event of [ready, 'close']) socket?.once(event, () => clearTimeout(timer))
    return socket
  }
  return agent
}
