import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Block, blocksOf, documents } from '../support/documents.ts'
import { fixture, pathOfFixture } from '../support/images.ts'
import { type Origin, startOrigin } from '../support/remote.ts'
import { type ServerProcess, startServer } from '../support/server.ts'

/**
 * What the documents tell people to type is typed here, as it stands, but for the server's address, the key, and a picture's size. A block
 * of commands that cannot be run here says so behind its language.
 */

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

/** Languages of which each block is run, unless it says that it is not. */
const COMMANDS = ['sh', 'console', 'python', 'js']

/** What would change the machine that tests run on, or another: never run, whatever a block says of itself. */
const REACHES_OUT = /\b(sudo|systemctl|useradd|kubectl|docker|apt-get|apt|setpriv)\b/

/** The image that documents have fetched from elsewhere. */
const ELSEWHERE = 'https://example.com/photo.jpg'

/** What a picture of the examples has, in bytes. */
const SIZE = '184344'

const PROGRAMS: Readonly<Record<string, (file: string) => string>> = {
  python: (file) => `python3 ${file}`,
  js: (file) => `${process.execPath} ${file}`,
}

/** As people see a refusal, which curl by itself takes for an answer like any other. */
const CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }'

let origin: Origin
let server: ServerProcess
beforeAll(async () => {
  origin = await startOrigin((_request, response) => void response.end(fixture('photo.jpg')))
  server = await startServer({ env: { URL_FETCH_ALLOW: `127.0.0.1:${origin.port}`, ADAPTERS: 'all' } })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
})

for (const document of documents) {
  const blocks = blocksOf(document)
  const commands = blocks.filter(({ language }) => COMMANDS.includes(language))
  const unmarked = commands.filter(({ runBy, notRun }) => runBy === undefined && notRun === undefined)
  const here = unmarked.filter(({ text }) => !REACHES_OUT.test(text))

  test(`${document} says who runs what is not run here`, () => {
    for (const { runBy, line } of commands)
      if (runBy !== undefined)
        expect({ line, exists: existsSync(join(root, runBy)) }).toEqual({ line, exists: true })
    // A block that would change a machine has to say why it is not run.
    expect(unmarked.filter((block) => !here.includes(block)).map(({ line }) => line)).toEqual([])
  })

  if (here.length === 0) continue
  test(`${document} has commands that work`, { timeout: 120_000 }, async () => {
    await using desk = await openDesk()
    for (const block of here) {
      const answers = await desk.type(block)
      const shown = shownAnswers(block, blocks[blocks.indexOf(block) + 1])
      if (shown.length === 0) continue
      expect({ line: block.line, answers: answers.map(shapeOf) }).toEqual({
        line: block.line,
        answers: shown.map(shapeOf),
      })
    }
  })
}

/** A folder like a clone with some pictures in it, and a server that its keys open. */
async function openDesk() {
  const folder = await mkdtemp(join(tmpdir(), 'layover-desk-'))
  for (const name of ['package.json', 'src', 'node_modules', 'docs', 'deploy'])
    if (existsSync(join(root, name))) await symlink(join(root, name), join(folder, name))
  await symlink(server.dataDir, join(folder, 'data'))
  for (const name of ['photo.jpg', 'photo.png']) await copyFile(pathOfFixture(name), join(folder, name))
  const { size } = await stat(join(folder, 'photo.png'))
  /** What the answers so far have said, as variables: a block may go on with `$id` or `$upload_url`. */
  const variables: Record<string, string> = {}

  const typed = (text: string) =>
    text
      .replaceAll('http://localhost:8080', server.url)
      .replaceAll(/sk-layover-…|YOUR_KEY/g, server.key())
      .replaceAll(ELSEWHERE, `http://127.0.0.1:${origin.port}/photo.jpg`)
      .replaceAll(SIZE, String(size))

  return {
    /** Runs a block, and gives the JSON that it has printed, line by line. */
    async type({ language, text, line }: Block): Promise<object[]> {
      let script = language === 'console' ? commandsIn(text) : text
      const program = PROGRAMS[language]
      if (program !== undefined) {
        const file = `typed-${line}.${language === 'js' ? 'mjs' : 'py'}`
        await writeFile(join(folder, file), typed(text))
        script = program(file)
      }
      const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', `${CURL}\n${typed(script)}`], {
        cwd: folder,
        env: {
          ...process.env,
          DATA_DIR: server.dataDir,
          KEY: server.key(),
          LAYOVER_URL: server.url,
          LAYOVER_KEY: server.key(),
          ...variables,
        },
      })
      const answers = jsonIn(stdout)
      for (const answer of answers)
        for (const [name, value] of Object.entries(answer))
          if (typeof value === 'string') variables[name] = value
      return answers
    },

    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** What follows the prompts of a shown terminal. */
function commandsIn(text: string): string {
  const lines = text.split('\n').filter((line) => line.startsWith('$ '))
  return lines.map((line) => line.slice(2)).join('\n')
}

/** The answers that a document shows to a block: in it, as a terminal does, or in a block of JSON right behind it. */
function shownAnswers({ language, text, line }: Block, next: Block | undefined): object[] {
  if (language === 'console') return jsonIn(text)
  const end = line + text.split('\n').length + 2
  return next?.language === 'json' && next.line <= end ? [JSON.parse(next.text)] : []
}

function jsonIn(text: string): object[] {
  // The answers of two curls stand side by side.
  return text
    .replaceAll('}{', '}\n{')
    .split('\n')
    .flatMap((line) => (/^\{.*\}$/.test(line) ? [JSON.parse(line)] : []))
}

/** The names of members, and the kinds of what they hold: values differ each time. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf)
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value
  const members = Object.entries(value).map(([name, member]) => [name, shapeOf(member)])
  return Object.fromEntries(members.sort())
}
