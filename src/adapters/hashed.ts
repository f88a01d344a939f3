import { createHash } from 'node:crypto'

/** A body that is hashed as it is read, for programs whose answers have digests; `digest` is in hexadecimal, once it has ended. */
export function hashed<A extends string>(body: AsyncIterable<Buffer>, ...algorithms: A[]) {
  const hashes = algorithms.map((algorithm) => [algorithm, createHash(algorithm)] as const)
  async function* read(): AsyncGenerator<Buffer> {
    for await (const piece of body) {
      for (const [, hash] of hashes) hash.update(piece)
      yield piece
    }
  }
  const digests = () =>
    Object.fromEntries(hashes.map(([algorithm, hash]) => [algorithm, hash.digest('hex')])) as Record<
      A,
      string
    >
  return { body: read(), digests }
}
