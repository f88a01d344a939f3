/** What this server's clients need to know of it. */
export interface ServerFacts {
  /** PUBLIC_URL, or what stands for it; without a trailing slash. */
  readonly base: string
  /** Whether it gives out links to upload to. */
  readonly hasLinks: boolean
}

/** A text in each language of the pages; `code` stands between backticks. */
export interface Text {
  readonly en: string
  readonly zh: string
}

export type Language = keyof Text

/** A program that can upload to this server, and how it is set up for that. */
export interface Client {
  /** As in the path of its files. */
  readonly id: string
  readonly name: string
  readonly platforms: string
  readonly about: Text
  readonly steps: readonly Text[]
  readonly files: readonly ClientFile[]
}

/** A configuration or a program, whole but for the key. */
export interface ClientFile {
  readonly name: string
  readonly type: string
  readonly text: string
}

/** Stands for the key in every file. The server never learns whose page it is: the browser puts the key in, or the user does. */
export const KEY = 'YOUR_KEY'

export const BEARER = `Bearer ${KEY}`

export function jsonFile(name: string, content: object): ClientFile {
  return { name, type: 'application/json; charset=utf-8', text: `${JSON.stringify(content, null, 2)}\n` }
}

export function textFile(name: string, text: string): ClientFile {
  return { name, type: 'text/plain; charset=utf-8', text }
}

/** What is to be typed into an app's form, as it stands: in JSON, quotes would have backslashes. */
export function fieldsFile(fields: Readonly<Record<string, string>>): ClientFile {
  const filled = Object.entries(fields).filter(([, value]) => value !== '')
  return textFile('fields.txt', filled.map(([name, value]) => `${name}: ${value}\n`).join(''))
}

/** A literal of Python, JavaScript and Go alike, whose rules for strings contain those of JSON. */
export const literal = (text: string) => JSON.stringify(text)

export const inShell = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

export const inPowerShell = (text: string) => `'${text.replaceAll("'", "''")}'`
