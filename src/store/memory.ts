import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { abortable } from './abortable.ts'
import { ObjectExists, ObjectNotFound, type Store, StoreError, storeFailure } from './store.ts'

/** The contract in its simplest form, for tests and for trying out: all is gone when the process ends. */
export function openMemoryStore(): Store {
  const objects = new Map<string, Buffer>()

  function find(key: string): Buffer {
    const bytes = objects.get(key)
    if (bytes === undefined) throw new ObjectNotFound(key)
    return bytes
  }

  return {
    async put(key, staged, { signal } = {}) {
      signal?.throwIfAborted()
      const bytes = staged.bytes ?? (await buffer(abortable(staged.open(), signal)).catch(explain(signal)))
      if (bytes.length !== staged.size) throw new StoreError('the staged bytes are not as many as announced')
      if (objects.has(key)) throw new ObjectExists(key)
      objects.set(key, Buffer.from(bytes))
    },

    async stat(key) {
      return { size: find(key).length }
    },

    async open(key, { range, signal } = {}) {
      signal?.throwIfAborted()
      const bytes = find(key)
      return {
        size: bytes.length,
        body: Readable.from([Buffer.from(bytes.subarray(range?.start, range && range.end + 1))]),
      }
    },

    async delete(key) {
      objects.delete(key)
    },

    async *list({ before, startingWith = '', wanted = () => true } = {}) {
      for (const key of [...objects.keys()].sort()) {
        if (before !== undefined && key >= before) return
        const bytes = key.startsWith(startingWith) && wanted(key) ? objects.get(key) : undefined
        if (bytes !== undefined) yield { key, size: bytes.length }
      }
    },

    async check() {},
    async close() {},
  }
}

function explain(signal: AbortSignal | undefined) {
  return (error: unknown): never => {
    throw signal?.aborted ? signal.reason : storeFailure(error, 'cannot read the staged bytes')
  }
}
