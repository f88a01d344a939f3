import { expect, test } from 'vitest'
import { LARGE_PIECE, OutputBudget, openOutputBudget, SMALL_PIECE } from '../../src/core/output-budget.ts'

const MiB = 1024 ** 2

test('pieces are large while little is held, and small once many readers hold one', () => {
  const budget = new OutputBudget()
  let readers = 0
  while (budget.pieceSize === LARGE_PIECE) {
    budget.hold(LARGE_PIECE)
    readers += 1
  }
  expect(readers).toBe(64)
  expect(budget.pieceSize).toBe(SMALL_PIECE)
  budget.release(LARGE_PIECE)
  expect(budget.pieceSize).toBe(LARGE_PIECE)
})

test('a quarter of MAX_MEMORY is for readers, and it can be told when a part of that is held', () => {
  const budget = openOutputBudget({ maxMemory: 1024 * MiB })
  budget.hold(128 * MiB)
  expect([budget.isOver(), budget.isOver(1 / 2)]).toEqual([false, false])
  budget.hold(1)
  expect([budget.isOver(), budget.isOver(1 / 2)]).toEqual([false, true])
  budget.hold(128 * MiB)
  expect([budget.isOver(), budget.isOver(1 / 2)]).toEqual([true, true])
})

test('10 000 connections that stall do not fill the usual budget, so that they keep nobody else from an image', () => {
  const budget = openOutputBudget({ maxMemory: 1024 * MiB })
  for (let reader = 0; reader < 10_000; reader += 1) budget.hold(budget.pieceSize)
  expect(budget.isOver()).toBe(false)
})

test('without MAX_MEMORY there is no limit', () => {
  const budget = openOutputBudget({ maxMemory: 0 })
  budget.hold(2 ** 50)
  expect(budget.isOver()).toBe(false)
})
