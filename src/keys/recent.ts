import { BoundedMap } from '../bounded-map.ts'

interface RecentOptions {
  /** How many are remembered; beyond that, the oldest is forgotten. */
  readonly most: number
  /** For how long each is. */
  readonly milliseconds: number
  /** Unix milliseconds. */
  readonly now: () => number
}

/** A set that forgets. */
export function recent({ most, milliseconds, now }: RecentOptions) {
  const ends = new BoundedMap<number>(most)
  return {
    has: (id: string): boolean => (ends.get(id) ?? 0) > now(),
    add(id: string): void {
      ends.set(id, now() + milliseconds)
    },
  }
}
