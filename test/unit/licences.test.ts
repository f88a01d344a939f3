import { expect, test } from 'vitest'
import { isAllowed } from '../support/licences.ts'

test.each([
  ['MIT', true],
  ['(MIT OR GPL-3.0-only)', true],
  ['GPL-3.0-only OR MIT', true],
  ['MIT AND (BSD-3-Clause OR GPL-2.0-only)', true],
  ['MIT AND GPL-3.0-only', false],
  ['GPL-3.0-only AND MIT OR AGPL-3.0-only', false],
  ['(MIT AND GPL-3.0-only) OR ISC', true],
  ['AGPL-3.0-or-later', false],
  ['MPL-2.0', false],
  ['MIT WITH something-else', false],
  ['(MIT', false],
  ['MIT ISC', false],
  ['SEE LICENSE IN LICENSE', false],
  ['UNLICENSED', false],
  ['', false],
  [undefined, false],
  [{ type: 'MIT' }, false],
])('the licence %j: %j', (license, expected) => expect(isAllowed(license, { isTool: false })).toBe(expected))

test('a tool may be under MPL-2.0, which asks for its own files alone, and under no GPL', () => {
  expect(isAllowed('MPL-2.0', { isTool: true })).toBe(true)
  expect(isAllowed('LGPL-3.0-only', { isTool: true })).toBe(false)
})
