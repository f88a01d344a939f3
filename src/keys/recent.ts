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
  const ends = new Map<string, number>()
  return {
    has: (id: string): boolean => (ends.get(id) ?? 0) > now(),
    add(id: string): void {
      // A map keeps the order in which its keys came, so an old one must go before it comes again.
      ends.delete(id)
      ends.set(id, now() + milliseconds)
      const [oldest] = ends.keys()
      if (ends.size > most && oldest !== undefined) ends.delete(oldest)
    },
  }
}
