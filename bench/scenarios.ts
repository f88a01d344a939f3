import { LAYOVER, NGINX, PLAIN, RAW } from './contestants/contestant.ts'
import type { Medium } from './folders.ts'

const [KB, MB] = [1024, 1024 ** 2]

/** How images are asked for. */
export type Way = 'first' | 'again' | 'head' | 'unchanged' | 'range'

interface Common {
  /** What `--only` is matched with, and what stands in the table. */
  readonly title: string
  /** Bytes of an image. */
  readonly size: number
  readonly connections: number
  readonly medium: Medium
  readonly contestants: readonly string[]
  /** Whole seconds of a round. */
  readonly seconds: number
}

export interface UploadScenario extends Common {
  readonly kind: 'upload'
}

export interface GetScenario extends Common {
  readonly kind: 'get'
  readonly way: Way
}

export type Scenario = UploadScenario | GetScenario

export interface Length {
  readonly isQuick: boolean
  /** Of a round of uploads, and of GETs, of which more are answered in the same time. */
  readonly seconds: number
  readonly getSeconds: number
}

export const upload = (size: number, connections: number, medium: Medium = 'memory') =>
  `upload ${sizeText(size)} × ${connections}, ${medium}`

/** Of uploads to a bucket. */
export const onS3 = (size: number, connections: number) => `upload ${sizeText(size)} × ${connections}, S3`

const WAYS: Readonly<Record<Way, string>> = {
  first: ', first time',
  again: ', again',
  head: '',
  unchanged: ', 304',
  range: ', range of 64 KB',
}

export const get = (size: number, way: Way, connections: number) =>
  `${way === 'head' ? 'HEAD' : 'GET'} ${sizeText(size)}${WAYS[way]} × ${connections}`

export function sizeText(size: number): string {
  return size < MB ? `${size / KB} KB` : `${size / MB} MB`
}

/** Bytes that may be stored and under way in a round. */
const MOST_AT_ONCE = 5 * 1024 * MB

/** Bytes under way for each second of a round, so that whoever takes them all in at once has time to answer several times. */
const UNDER_WAY = 200 * MB

/** All that is compared, the small before the large. A quick run has what the targets need. */
export function scenariosOf({ isQuick, seconds, getSeconds }: Length): Scenario[] {
  return [...uploads(isQuick, seconds), ...gets(isQuick, getSeconds)]
}

function uploads(isQuick: boolean, seconds: number): UploadScenario[] {
  const sizes = isQuick ? [50 * KB, 5 * MB, 20 * MB] : [50 * KB, 500 * KB, 5 * MB, 20 * MB]
  const onDisk = isQuick ? [] : sizes
  const scenario = (size: number, connections: number, medium: Medium): UploadScenario => ({
    kind: 'upload',
    title: upload(size, connections, medium),
    size,
    connections,
    medium,
    // On a disk, nginx would be alone in not waiting for it.
    contestants: medium === 'disk' ? [LAYOVER, PLAIN, RAW] : [LAYOVER, PLAIN, RAW, NGINX],
    seconds: longEnough(seconds, size, connections),
  })
  return [
    ...sizes.flatMap((size) =>
      (isQuick ? [16] : [1, 16, 64, 256])
        .filter((connections) => size * connections < MOST_AT_ONCE)
        .map((connections) => scenario(size, connections, 'memory')),
    ),
    ...onDisk.flatMap((size) => (isQuick ? [16] : [16, 64]).map((count) => scenario(size, count, 'disk'))),
  ]
}

function gets(isQuick: boolean, seconds: number): GetScenario[] {
  const asked: [number, Way][] = [
    ...(isQuick ? [50 * KB, MB] : [50 * KB, MB, 5 * MB]).flatMap((size): [number, Way][] => [
      [size, 'first'],
      [size, 'again'],
    ]),
    ...(isQuick ? [] : (['head', 'unchanged', 'range'] as const).map((way): [number, Way] => [MB, way])),
  ]
  return asked.flatMap(([size, way]) =>
    (isQuick ? [32] : [1, 32, 256]).map((connections) => ({
      kind: 'get',
      way,
      title: get(size, way, connections),
      size,
      connections,
      // From a disk they would be read out of the system's memory as well, but wait for what else the disk does.
      medium: 'memory',
      contestants: [LAYOVER, PLAIN, NGINX],
      seconds: longEnough(seconds, size, connections),
    })),
  )
}

function longEnough(seconds: number, size: number, connections: number): number {
  return Math.max(seconds, Math.ceil((size * connections) / UNDER_WAY))
}

export { KB, MB }
