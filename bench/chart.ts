import type { Comparison } from './compare.ts'
import { LAYOVER, NGINX, PLAIN, RAW } from './contestants/contestant.ts'
import { ratio } from './ratios.ts'

/** Colours that are told apart in light and in dark, and without colour by their order. */
const COLOURS: Readonly<Record<string, string>> = {
  [LAYOVER]: '#2f7fd8',
  [PLAIN]: '#8a8f98',
  [RAW]: '#c98a1b',
  [NGINX]: '#2f9e63',
}

const WIDTH = 900
/** Where bars begin, and how long the longest is. */
const [LEFT, LONGEST] = [250, 540]
const [BAR, GAP, TOP] = [14, 18, 70]

/** Connections, of uploads and of GETs. */
const TYPICAL = [16, 32]

const STYLE = `text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-size: 16px; font-weight: 600 }
.value { font-size: 11px } .line { stroke: #24292f; stroke-opacity: .35; stroke-dasharray: 3 3 } .paper { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .line { stroke: #e6edf3 } .paper { fill: #0d1117 } }`

/** Bars of each contestant's requests a second, as ratios to plain Fastify's, for each scenario. */
export function chartOf(comparisons: readonly Comparison[]): string {
  const groups = typical(comparisons).flatMap(({ scenario, rounds }) => {
    const names = Object.keys(rounds)
    if (!names.includes(PLAIN)) return []
    const bars = names.map((name) => ({ name, value: ratio({ scenario, rounds }, [name, PLAIN]) }))
    return [{ title: scenario.title, bars: bars.filter(({ value }) => Number.isFinite(value)) }]
  })
  const largest = Math.max(2, ...groups.flatMap(({ bars }) => bars.map(({ value }) => value)))
  // Square roots, so that nginx's bars leave the others some length.
  const lengthOf = (value: number) => (Math.sqrt(value) / Math.sqrt(largest)) * LONGEST
  let y = TOP
  const drawn = groups.map((group) => {
    const text = drawGroup(group, y, lengthOf)
    y += group.bars.length * BAR + GAP
    return text
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img">
<title>Requests a second, as a ratio to plain Fastify</title>
<style>${STYLE}</style>
<rect class="paper" width="${WIDTH}" height="${y}"/>
<text class="title" x="16" y="26">Requests a second, as a ratio to plain Fastify (lengths by square root)</text>
${legend()}
<line class="line" x1="${LEFT + lengthOf(1)}" x2="${LEFT + lengthOf(1)}" y1="${TOP - 8}" y2="${y - GAP + 6}"/>
${drawn.join('\n')}
</svg>
`
}

/** A full run has several numbers of connections: the chart has one, as long as there is one to have. */
function typical(comparisons: readonly Comparison[]): readonly Comparison[] {
  const chosen = comparisons.filter(({ scenario: { connections } }) => TYPICAL.includes(connections))
  return chosen.length > 0 ? chosen : comparisons
}

interface Group {
  readonly title: string
  readonly bars: readonly { readonly name: string; readonly value: number }[]
}

function drawGroup({ title, bars }: Group, y: number, lengthOf: (value: number) => number): string {
  const middle = y + (bars.length * BAR) / 2 + 4
  return [
    `<text x="${LEFT - 10}" y="${middle}" text-anchor="end">${escaped(title)}</text>`,
    ...bars.map(({ name, value }, i) => {
      const [top, length] = [y + i * BAR, lengthOf(value)]
      return (
        `<rect x="${LEFT}" y="${top}" width="${length.toFixed(1)}" height="${BAR - 2}" rx="2" fill="${COLOURS[name] ?? '#888'}"/>` +
        `<text class="value" x="${(LEFT + length + 6).toFixed(1)}" y="${top + BAR - 4}">${value.toFixed(2)}</text>`
      )
    }),
  ].join('\n')
}

function legend(): string {
  return Object.entries(COLOURS)
    .map(([name, colour], i) => {
      const x = 16 + i * 150
      return `<rect x="${x}" y="40" width="12" height="12" rx="2" fill="${colour}"/><text x="${x + 18}" y="51">${name}</text>`
    })
    .join('\n')
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
