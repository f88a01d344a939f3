import { StoreError } from '../store.ts'
import { failureOf } from './failures.ts'

export interface Circumstances {
  /** As in "may not list the bucket". */
  readonly doing: string
  readonly bucket: string
  /** What the keys in question begin with. */
  readonly prefix: string
  readonly endpoint: string
}

/** What to change about a call that failed at the start, in the words of the configuration. */
export function advise(
  error: unknown,
  about: Circumstances & { /** Whether the time for starting is over. */ readonly isOver: boolean },
): StoreError {
  if (error instanceof StoreError) return error
  const text = about.isOver ? silent(about) : (ADVICE[failureOf(error).code] ?? byStatus)(about, error)
  return new StoreError(text, { cause: error })
}

/** What is said of an address where something else answers than an S3 server. */
export const noS3 = (endpoint: string) => `S3_ENDPOINT: what answers at ${endpoint} does not speak S3`

type Advice = (about: Circumstances, error: unknown) => string

const byStatus: Advice = (about, error) => {
  const { doing, endpoint, bucket } = about
  const { status, code } = failureOf(error)
  if (code === 'TimeoutError') return silent(about)
  // No answer, or one in which the SDK finds no error of S3's.
  const isUnreadable = /^UnknownError$|Deserialization error/.test((error as Error).message)
  if (status === undefined || isUnreadable) return noS3(endpoint)
  if (status === 403) return denied(about)
  if (status === 301 || status === 307) return region(about)
  return `S3_ENDPOINT: ${endpoint} refuses to ${doing} the bucket "${bucket}" (${code}, ${status})`
}

const silent = ({ endpoint }: Circumstances) => `S3_ENDPOINT: ${endpoint} does not answer in time`
const unknownHost: Advice = ({ endpoint }) => `S3_ENDPOINT: no machine of that name can be found: ${endpoint}`
const nobody: Advice = ({ endpoint }) => `S3_ENDPOINT: nothing answers at ${endpoint}`
const untrusted: Advice = ({ endpoint }) =>
  `S3_ENDPOINT: the certificate of ${endpoint} is not trusted here; ` +
  'NODE_EXTRA_CA_CERTS can name a file with the one that signed it'
const denied = ({ bucket, prefix, doing }: Circumstances) =>
  `S3_ACCESS_KEY_ID: this key may not ${doing} the bucket "${bucket}" (below "${prefix}"); docs/storage.md has the policy that it needs`
const region = ({ bucket }: Circumstances) => `S3_REGION: the bucket "${bucket}" is in another region`
const clock: Advice = ({ endpoint }) =>
  `The clock of this machine and that of ${endpoint} are more than a quarter of an hour apart; set the one that is wrong`

const ADVICE: Readonly<Record<string, Advice>> = {
  ENOTFOUND: unknownHost,
  EAI_AGAIN: unknownHost,
  ECONNREFUSED: nobody,
  EHOSTUNREACH: nobody,
  ENETUNREACH: nobody,
  ETIMEDOUT: nobody,
  EPROTO: ({ endpoint }) => `S3_ENDPOINT: ${endpoint} does not speak TLS; http:// may be meant`,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  CERT_HAS_EXPIRED: untrusted,
  CredentialsProviderError: () =>
    'S3_ACCESS_KEY_ID: no key is set, and neither the environment of AWS nor this machine has one',
  InvalidAccessKeyId: () => 'S3_ACCESS_KEY_ID: the store does not know this key',
  SignatureDoesNotMatch: () =>
    'S3_SECRET_ACCESS_KEY: is not the one of S3_ACCESS_KEY_ID (or a proxy in between changes the request)',
  RequestTimeTooSkewed: clock,
  RequestExpired: clock,
  AccessDenied: denied,
  PermanentRedirect: region,
  AuthorizationHeaderMalformed: region,
  IllegalLocationConstraintException: region,
  InvalidLocationConstraint: region,
  NoSuchBucket: ({ bucket }) =>
    `S3_BUCKET: there is no bucket "${bucket}"; make it, or let it be made with S3_CREATE_BUCKET=true`,
  InvalidBucketName: ({ bucket }) => `S3_BUCKET: "${bucket}" cannot be the name of a bucket`,
}
