/** Those that ask for no more than to be named. */
const PERMISSIVE = new Set([
  ...[
    '0BSD',
    'Apache-2.0',
    'BlueOak-1.0.0',
    'BSD-2-Clause',
    'BSD-3-Clause',
    'CC0-1.0',
    'ISC',
    'MIT',
    'MIT-0',
  ],
  ...['Python-2.0', 'Unicode-3.0', 'Unlicense', 'Zlib'],
])

/** What is used to test and is not part of the server may also be under a licence that asks for its own files alone. */
const FOR_TOOLS = new Set([...PERMISSIVE, 'MPL-2.0', 'CC-BY-4.0'])

/**
 * Whether a package may be used, by the `license` of its package.json: an SPDX expression. `OR` leaves the choice to us, `AND` does not, and what is
 * no expression is refused.
 */
export function isAllowed(license: unknown, { isTool }: { isTool: boolean }): boolean {
  if (typeof license !== 'string') return false
  const good = isTool ? FOR_TOOLS : PERMISSIVE
  const words = license.match(/[()]|[^\s()]+/g) ?? []
  let next = 0

  function either(): boolean {
    let result = both()
    while (words[next] === 'OR') {
      next += 1
      // Both sides are read, whatever the first one says.
      result = [result, both()].includes(true)
    }
    return result
  }

  function both(): boolean {
    let result = one()
    while (words[next] === 'AND') {
      next += 1
      result = ![result, one()].includes(false)
    }
    return result
  }

  function one(): boolean {
    const word = words[next++] ?? ''
    if (word !== '(') return good.has(word)
    const result = either()
    return words[next++] === ')' && result
  }

  return either() && next === words.length
}
