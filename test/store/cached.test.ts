import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { cachedStore } from '../../src/store/cached.ts'
import { openMemoryStore } from '../../src/store/memory.ts'
import { linkWitness } from '../../src/store/witness.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { storeContract } from './contract.ts'

storeContract('cached, by links', async () => {
  const folder = await tempFolder()
  const witness = linkWitness(join(folder.path, 'cached'))
  const store = cachedStore(openMemoryStore(), { size: 8 * 1024 ** 2, witness })
  return {
    store,
    leftovers: () => readdir(join(folder.path, 'cached')),
    async close() {
      await store.close()
      await folder[Symbol.asyncDispose]()
    },
  }
})
