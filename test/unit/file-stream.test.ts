import { openSync, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { LARGE_PIECE, OutputBudget, SMALL_PIECE } from '../../src/core/output-budget.ts'
import { FileStream } from '../../src/storage/local/file-stream.ts'
import { StoreError } from '../../src/store/store.ts'
import { eventually } from '../support/socket.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'

const SIZE = 3 * LARGE_PIECE + SMALL_PIECE
const bytes = Buffer.from(Array.from({ length: SIZE }, (_, at) => at % 251))
let folder: TempFolder
let path: string
beforeAll(async () => {
  folder = await tempFolder()
  path = join(folder.path, 'file')
  await writeFile(path, bytes)
})
afterAll(() => folder[Symbol.asyncDispose]())

const streamOf = (budget: OutputBudget, { start = 0, length = SIZE } = {}) =>
  new FileStream({ fd: openSync(path, 'r'), start, length }, budget)

/** Takes what is written when it is told to, as a socket does whose client is slow. */
function slowReader() {
  const waiting: (() => void)[] = []
  const sink = new Writable({
    highWaterMark: SMALL_PIECE,
    write: (_chunk, _encoding, done) => waiting.push(done),
  })
  return { sink, take: () => waiting.shift()?.() }
}

test('a part of a file comes byte for byte', async () => {
  const part = await buffer(streamOf(new OutputBudget(), { start: 1000, length: LARGE_PIECE + 1 }))
  expect(part.equals(bytes.subarray(1000, 1001 + LARGE_PIECE))).toBe(true)
})

test('a reader that stalls holds one piece, and the next is not read before it has taken that one', async () => {
  const budget = new OutputBudget()
  const { sink, take } = slowReader()
  const stream = streamOf(budget)
  stream.pipe(sink)
  for (const held of [LARGE_PIECE, LARGE_PIECE, LARGE_PIECE, SMALL_PIECE]) {
    await eventually(() => sink.writableLength === held)
    for (let turn = 0; turn < 10; turn += 1) await setImmediate()
    expect([budget.held, stream.readableLength, sink.writableLength]).toEqual([held, 0, held])
    take()
  }
  await eventually(() => sink.writableFinished)
  expect(budget.held).toBe(0)
})

test('pieces are small while other readers hold much', async () => {
  const budget = new OutputBudget()
  budget.hold(16 * 1024 ** 2)
  const { sink } = slowReader()
  const stream = streamOf(budget)
  stream.pipe(sink)
  await eventually(() => sink.writableLength === SMALL_PIECE)
  stream.destroy()
})

test('a reader that leaves holds nothing, and leaves no open file, at whatever point it leaves', async () => {
  const before = readdirSync('/proc/self/fd').length
  const budget = new OutputBudget()
  for (let turns = 0; turns < 6; turns += 1) {
    const stream = streamOf(budget)
    stream.resume()
    for (let turn = 0; turn < turns; turn += 1) await setImmediate()
    const closed = new Promise((resolve) => stream.once('close', resolve))
    stream.destroy()
    await closed
    expect(budget.held).toBe(0)
  }
  expect(readdirSync('/proc/self/fd').length).toBe(before)
})

test('a file that is shorter than it was fails, and does not end as if it were whole', async () => {
  const stream = streamOf(new OutputBudget(), { length: SIZE + 1 })
  await expect(buffer(stream)).rejects.toBeInstanceOf(StoreError)
})
