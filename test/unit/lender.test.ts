import { expect, test } from 'vitest'
import { type Loan, lender } from '../../src/store/lender.ts'

const MiB = 1024 ** 2

test('a buffer that was given back is lent again, and one that somebody may look at is not', () => {
  const lend = lender()
  const first = lend(50_000) as Loan
  first.end(true)
  const second = lend(60_000) as Loan
  expect(second.buffer).toBe(first.buffer)
  second.end(false)
  expect(lend(50_000)?.buffer).not.toBe(first.buffer)
})

test('a buffer that is lent is lent to nobody else, even if it is given back twice', () => {
  const lend = lender()
  const loan = lend(1000) as Loan
  loan.end(true)
  loan.end(true)
  const buffers = [1, 2, 3].map(() => lend(1000)?.buffer)
  expect(new Set(buffers).size).toBe(3)
})

test('32 MB are lent at most, and none for what is larger than 1 MB', () => {
  const lend = lender()
  expect(lend(MiB + 1)).toBeUndefined()
  const loans = Array.from({ length: 40 }, () => lend(MiB))
  expect(loans.filter(Boolean)).toHaveLength(32)
  loans[0]?.end(true)
  expect(lend(MiB)).toBeDefined()
  expect(lend(1)).toBeUndefined()
})
