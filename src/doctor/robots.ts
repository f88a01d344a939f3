/** Whether a robots.txt lets an agent fetch a path, by the rules of RFC 9309: the longest rule of the agent's group counts. */
export function isAllowed(text: string, { agent, path }: { agent: string; path: string }): boolean {
  const groups = groupsOf(text)
  const named = groups.filter(({ agents }) => agents.includes(agent.toLowerCase()))
  const group = named.length > 0 ? named : groups.filter(({ agents }) => agents.includes('*'))
  const fitting = group.flatMap(({ rules }) => rules).filter(({ pattern }) => fits(pattern, path))
  const [best] = fitting.sort(
    (a, b) => b.pattern.length - a.pattern.length || Number(b.allows) - Number(a.allows),
  )
  return best?.allows ?? true
}

interface Group {
  readonly agents: string[]
  readonly rules: { readonly allows: boolean; readonly pattern: string }[]
}

function groupsOf(text: string): Group[] {
  const groups: Group[] = []
  for (const line of text.split(/\r?\n/)) {
    const [, field = '', value = ''] = /^\s*([\w-]+)\s*:\s*([^#]*?)\s*(#.*)?$/.exec(line) ?? []
    const name = field.toLowerCase()
    let group = groups.at(-1)
    if (name === 'user-agent') {
      if (group === undefined || group.rules.length > 0) {
        group = { agents: [], rules: [] }
        groups.push(group)
      }
      group.agents.push(value.toLowerCase())
    }
    // An empty Disallow forbids nothing, and still ends the list of agents.
    if (name === 'allow' || name === 'disallow')
      group?.rules.push({ allows: name === 'allow' || value === '', pattern: value })
  }
  return groups
}

function fits(pattern: string, path: string): boolean {
  const isWhole = pattern.endsWith('$')
  const parts = (isWhole ? pattern.slice(0, -1) : pattern).split('*')
  let from = 0
  for (const [i, part] of parts.entries()) {
    const at = i === 0 ? (path.startsWith(part) ? 0 : -1) : path.indexOf(part, from)
    if (at < 0) return false
    from = at + part.length
  }
  return !isWhole || from === path.length || (parts.length > 1 && path.endsWith(parts.at(-1) ?? ''))
}
