import { type ImageName, parseName, STEM_WIDTH } from '../name.ts'

/** Seconds by which the clocks of replicas may differ. */
const CLOCKS_DIFFER = 60

export interface Times {
  /** Seconds for which a link takes an upload. */
  readonly presignLifetime: number
  /** Seconds that an upload which has begun may take. */
  readonly uploadTimeout: number
}

/** When nothing can come any more under a name, in Unix seconds: what began before the deadline may take its time. */
export function closingTime({ created }: ImageName, times: Times): number {
  return created + holdOf(times)
}

/** Seconds from the giving out of a name until nothing can come any more under it: its reservation waits as long. */
export function holdOf({ presignLifetime, uploadTimeout }: Times): number {
  return presignLifetime + uploadTimeout
}

/** Whether an object of the incoming area, known by its key, is of no more use at `now`, in Unix milliseconds. */
export function isLeftover(key: string, times: Times, now: number): boolean {
  const name = parseName(key.slice(0, STEM_WIDTH) + key.slice(key.indexOf('.')))
  return name !== undefined && now >= (closingTime(name, times) + CLOCKS_DIFFER) * 1000
}
