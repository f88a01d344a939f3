import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

/** A fenced block of a document. */
export interface Block {
  /** As the fence names it: `sh`, `console`, `python`, `js`, `json`… */
  readonly language: string
  readonly text: string
  /** Of the fence, from 1. */
  readonly line: number
  /** From ` ```sh run-by="<path>" `: what runs it in place of the documents' test. */
  readonly runBy: string | undefined
  /** From ` ```sh not-run="<what is missing here>" `. */
  readonly notRun: string | undefined
}

/** All that is written for users: the READMEs, and what is below `docs/`. */
export const documents: readonly string[] = [
  ...readdirSync(root).filter((name) => /^README.*\.md$/.test(name)),
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

const FENCE = /^```([a-z]+)([^\n]*)\n(.*?)^```$/gms

/** The blocks of a document, in order. */
export function blocksOf(document: string): Block[] {
  const markdown = readFileSync(join(root, document), 'utf8')
  return [...markdown.matchAll(FENCE)].map(({ 1: language = '', 2: info = '', 3: text = '', index }) => ({
    language,
    text,
    line: markdown.slice(0, index).split('\n').length,
    runBy: /run-by="([^"]+)"/.exec(info)?.[1],
    notRun: /not-run="([^"]+)"/.exec(info)?.[1],
  }))
}
