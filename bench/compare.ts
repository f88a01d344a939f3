import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Arena, ORDER, openArena } from './arena.ts'
import type { Contestant } from './contestants/contestant.ts'
import type { Medium } from './folders.ts'
import { type Gallery, makeGallery } from './gallery.ts'
import { getRound } from './gets.ts'
import type { Round } from './measure.ts'
import { say } from './say.ts'
import type { Scenario } from './scenarios.ts'
import { uploadRound } from './uploads.ts'

/** The rounds of each contestant in one scenario; the same number for all, each taken in turn. */
export interface Comparison {
  readonly scenario: Scenario
  readonly rounds: Readonly<Record<string, readonly Round[]>>
}

export interface CompareOptions {
  readonly scenarios: readonly Scenario[]
  /** Base folders. */
  readonly media: ReadonlyMap<Medium, string>
  readonly rounds: number
  /** Folder for what the generator reads. */
  readonly scripts: string
}

/** Runs all scenarios on their file systems, those that this machine has. */
export async function compareAll({ scenarios, media, ...options }: CompareOptions): Promise<Comparison[]> {
  const comparisons: Comparison[] = []
  for (const [medium, base] of media) {
    const here = scenarios.filter((scenario) => mediumOf(scenario, media) === medium)
    if (here.length === 0) continue
    await using arena = await openArena(base, new Set(here.flatMap(({ contestants }) => contestants)))
    for (const kind of ['upload', 'get'] as const) {
      const ofKind = here.filter((scenario) => scenario.kind === kind)
      const sizes = [...new Set(ofKind.map(({ size }) => size))]
      const images = join(arena.layover.dataDir, 'images')
      // Uploads come first, as they clear the folders.
      const gallery = makeGallery(arena.gallery, images, kind === 'get' ? sizes : [])
      for (const scenario of ofKind) comparisons.push(await compare(scenario, arena, { ...options, gallery }))
    }
  }
  return comparisons
}

/** Images are in the system's memory anyway, so that they can be served from either. */
function mediumOf({ kind, medium }: Scenario, media: ReadonlyMap<Medium, string>): Medium {
  return kind === 'get' && !media.has(medium) ? 'disk' : medium
}

interface Options {
  readonly rounds: number
  readonly scripts: string
  readonly gallery: Gallery
}

async function compare(scenario: Scenario, arena: Arena, options: Options): Promise<Comparison> {
  const servers = ORDER.filter((name) => scenario.contestants.includes(name)).flatMap(
    (name) => arena.contestants.get(name) ?? [],
  )
  const rounds = await inTurn(servers, options.rounds, (server, isWarmUp) =>
    runOne(scenario, server, isWarmUp ? 1 : scenario.seconds, options),
  )
  say(scenario.title, rounds)
  return { scenario, rounds }
}

/** One warm-up each, then round by round, each time beginning with another one. */
export async function inTurn(
  servers: readonly Contestant[],
  count: number,
  run: (server: Contestant, isWarmUp: boolean) => Promise<Round>,
): Promise<Record<string, Round[]>> {
  const rounds: Record<string, Round[]> = Object.fromEntries(servers.map(({ name }) => [name, []]))
  for (const server of servers) await run(server, true)
  for (let round = 0; round < count; round += 1) {
    for (let i = 0; i < servers.length; i += 1) {
      const server = servers[(round + i) % servers.length]
      if (server !== undefined) rounds[server.name]?.push(await run(server, false))
    }
  }
  return rounds
}

async function runOne(
  scenario: Scenario,
  server: Contestant,
  seconds: number,
  { scripts, gallery }: Options,
): Promise<Round> {
  await mkdir(scripts, { recursive: true })
  return scenario.kind === 'upload'
    ? uploadRound(server, { ...scenario, seconds, scripts })
    : getRound(server, { ...scenario, seconds, scripts, gallery })
}
