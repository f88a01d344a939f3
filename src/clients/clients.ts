import type { Client, ServerFacts } from './client.ts'
import { curl } from './curl.ts'
import { go } from './go.ts'
import { iosShortcut } from './ios.ts'
import { node } from './node.ts'
import { obsidian } from './obsidian.ts'
import { openai } from './openai.ts'
import { picgo } from './picgo.ts'
import { piclist } from './piclist.ts'
import { python } from './python.ts'
import { sharex } from './sharex.ts'
import { typora } from './typora.ts'
import { upic } from './upic.ts'

const ALL: readonly ((facts: ServerFacts) => Client)[] = [
  sharex,
  picgo,
  piclist,
  upic,
  typora,
  obsidian,
  iosShortcut,
  curl,
  python,
  node,
  go,
  openai,
]

/** All clients that are known to work, set up for a server, in the order in which they are shown. */
export function clientsOf(facts: ServerFacts): Client[] {
  return ALL.map((client) => client(facts))
}
