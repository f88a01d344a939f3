interface SlotOptions {
  readonly atOnce: number
  /** How many may wait for a slot; the next is refused at once. */
  readonly waiting: number
}

/** Lets only so many in at once. Each has its slot until it is disposed of; rejects if too many wait, or with the signal's reason. */
export function slots({ atOnce, waiting }: SlotOptions) {
  const queue = new Set<() => void>()
  let free = atOnce

  function release(): void {
    free += 1
    const [next] = queue
    next?.()
  }

  function inTurn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        queue.delete(enter)
        reject(signal.reason)
      }
      const enter = () => {
        queue.delete(enter)
        signal.removeEventListener('abort', leave)
        free -= 1
        resolve()
      }
      queue.add(enter)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  return async (signal: AbortSignal): Promise<Disposable> => {
    if (free > 0) free -= 1
    else if (queue.size >= waiting) throw new Error('too many questions are waiting for an answer')
    else await inTurn(signal)
    return { [Symbol.dispose]: release }
  }
}
