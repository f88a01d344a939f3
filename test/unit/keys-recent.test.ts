import { expect, test } from 'vitest'
import { recent } from '../../src/keys/recent.ts'

test('answers of a gateway are remembered up to a number, and the oldest forgotten first', () => {
  const set = recent({ most: 2, milliseconds: 10, now: () => 0 })
  for (const id of ['a', 'b', 'a', 'c']) set.add(id)
  expect(['a', 'b', 'c'].map(set.has)).toEqual([true, false, true])
})
