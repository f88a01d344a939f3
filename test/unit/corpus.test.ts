import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../src/errors.ts'
import { sniff } from '../../src/formats.ts'
import { stage } from '../../src/stage.ts'
import { sizeByRule } from '../support/header-rule.ts'
import { tempSpool } from '../support/temp-folder.ts'

/** Other projects' test images, which are not part of this repository. */
const folder = join(import.meta.dirname, '../../../shared/corpus')
const isHere = existsSync(join(folder, 'manifest.tsv'))

interface Row {
  readonly path: string
  /** One of the four formats, or `other`. */
  readonly magic: string
  readonly verdict: string
}

async function rows(wanted: (row: Row) => boolean): Promise<Row[]> {
  const lines = (await readFile(join(folder, 'manifest.tsv'), 'utf8')).trim().split('\n').slice(1)
  return lines
    .map((line) => line.split('\t'))
    .map(([path = '', , , , magic = '', , verdict = '']) => ({ path, magic, verdict }))
    .filter(wanted)
}

interface Outcome extends Row {
  /** `200` or the status of the refusal. */
  readonly status: number
  readonly format?: string
  readonly isSame?: boolean
}

/** Stages each of the files as an upload would; nothing may be left of any afterwards. */
async function outcomes(files: readonly Row[]): Promise<Outcome[]> {
  await using temp = await tempSpool()
  const { spool } = temp
  const found: Outcome[] = []
  for (const row of files) {
    const bytes = await readFile(join(folder, row.path))
    // Chunks as they come from a socket that delivers little at a time.
    const body = Readable.from(bytes.length === 0 ? [] : cut(bytes, 1460))
    found.push({ ...row, ...(await outcome(body, bytes, spool)) })
  }
  expect(await temp.names()).toEqual([])
  return found
}

async function outcome(body: Readable, bytes: Buffer, spool: Parameters<typeof stage>[1]['spool']) {
  try {
    await using staged = await stage(body, { spool, maxFileSize: 20 * 1024 ** 2, maxPixels: 1e8 })
    return { status: 200, format: staged.format, isSame: (await buffer(staged.open())).equals(bytes) }
  } catch (error) {
    if (error instanceof Problem) return { status: error.status }
    throw error
  }
}

function isTakenByRule(bytes: Buffer): boolean {
  const format = sniff(bytes)
  const { width, height } = (format && sizeByRule(format, bytes)) ?? { width: 0, height: 0 }
  return width > 0 && height > 0 && width * height <= 1e8
}

const cut = (bytes: Buffer, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  )

describe(
  isHere ? 'real images by others' : 'real images by others (shared/corpus is not on this machine)',
  () => {
    test.skipIf(!isHere)(
      'every image that decoders agree on is taken and comes back byte for byte',
      async () => {
        const valid = await outcomes(await rows(({ verdict }) => verdict === 'valid'))
        expect(valid.length).toBeGreaterThan(300)
        const wronged = valid.filter(
          ({ status, format, magic, isSame }) => status !== 200 || format !== magic || !isSame,
        )
        expect(wronged).toEqual([])
      },
    )

    test.skipIf(!isHere)('everything that only pretends to be one is refused', async () => {
      const decoys = await outcomes(await rows(({ magic }) => magic === 'other'))
      expect(decoys.length).toBeGreaterThan(10)
      expect(decoys.filter(({ status }) => ![400, 415, 422].includes(status))).toEqual([])
    })

    test.skipIf(!isHere)(
      'damaged images are taken as they are if their headers are in order, and else refused as the client’s fault',
      async () => {
        const damaged = await outcomes(
          await rows(({ magic, verdict }) => magic !== 'other' && ['invalid', 'disputed'].includes(verdict)),
        )
        expect(damaged.length).toBeGreaterThan(100)
        const ill = damaged.filter(({ status, isSame }) => !(isSame || (status >= 400 && status < 500)))
        expect(ill).toEqual([])
        const byRule = await Promise.all(
          damaged.map(async ({ path }) => isTakenByRule(await readFile(join(folder, path)))),
        )
        const astray = damaged.filter(({ status }, index) => (status === 200) !== byRule[index])
        expect(astray).toEqual([])
        // Else the rule would say nothing.
        expect(new Set(byRule).size).toBe(2)
      },
    )
  },
)
