import { Histogram, type Registry } from '@prometheus-io/client'
import { ObjectExists, ObjectNotFound, StorageFull, type Store } from '../store/store.ts'
import type { Usage } from '../usage/usage.ts'

/** Seconds. From a local disk's to a call that took all of S3_TIMEOUT. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

type Result = 'ok' | 'refused' | 'not_found' | 'exists' | 'full' | 'aborted' | 'error'
type Observe = (operation: string, result: Result, begun: number) => void

/** Gives out stores and usages that do the same as those they are given, and time each call by operation and result. */
export function callMetrics(registry: Registry) {
  const observerOf = (name: string, help: string): Observe => {
    const histogram = new Histogram({
      name,
      help,
      labelNames: ['operation', 'result'],
      buckets: BUCKETS,
      registers: [registry],
    })
    return (operation, result, begun) =>
      histogram.observe({ operation, result }, (performance.now() - begun) / 1000)
  }
  const ofStore = observerOf('layover_store_call_duration_seconds', 'Calls to the store, in seconds.')
  const ofUsage = observerOf(
    'layover_usage_call_duration_seconds',
    'Calls to the counts of quotas and rates.',
  )
  return {
    store: (store: Store) => timedStore(store, ofStore),
    usage: (usage: Usage) => timedUsage(usage, ofUsage),
  }
}

/** What a call has to be watched for besides its error. */
interface Watched<T> {
  readonly signal?: AbortSignal | undefined
  readonly resultOf?: (answer: T) => Result
}

function timer(observe: Observe) {
  return async <T>(
    operation: string,
    call: () => Promise<T>,
    { signal, resultOf = () => 'ok' }: Watched<T> = {},
  ): Promise<T> => {
    const begun = performance.now()
    try {
      const answer = await call()
      observe(operation, resultOf(answer), begun)
      return answer
    } catch (error) {
      observe(operation, signal?.aborted ? 'aborted' : kindOf(error), begun)
      throw error
    }
  }
}

function timedStore(store: Store, observe: Observe): Store {
  const time = timer(observe)
  const { deleteMany } = store
  return {
    ...store,
    put: (key, staged, options) => time('put', () => store.put(key, staged, options), { ...options }),
    stat: (key) => time('stat', () => store.stat(key)),
    // Until the body is open, not until it is read: that takes as long as its reader.
    open: (key, options) => time('open', () => store.open(key, options), { signal: options?.signal }),
    delete: (key) => time('delete', () => store.delete(key)),
    ...(deleteMany && {
      deleteMany: (keys: readonly string[]) =>
        time('delete_many', () => deleteMany.call(store, keys), {
          resultOf: (failures) => (failures.length > 0 ? 'error' : 'ok'),
        }),
    }),
    list: (options) => timedList(store.list(options), observe),
    check: () => time('check', () => store.check()),
  }
}

/** Counts the time for which a list is waited for, not what its reader does in between. */
async function* timedList<T>(objects: AsyncGenerator<T>, observe: Observe): AsyncGenerator<T> {
  let waited = 0
  let result: Result = 'ok'
  async function next() {
    const begun = performance.now()
    try {
      return await objects.next()
    } catch (error) {
      result = 'error'
      throw error
    } finally {
      waited += performance.now() - begun
    }
  }
  try {
    for (let found = await next(); !found.done; found = await next()) yield found.value
  } finally {
    observe('list', result, performance.now() - waited)
    await objects.return(undefined)
  }
}

function timedUsage(usage: Usage, observe: Observe): Usage {
  const time = timer(observe)
  return {
    ...usage,
    reserve: (request) =>
      time('reserve', () => usage.reserve(request), {
        resultOf: ({ granted }) => (granted ? 'ok' : 'refused'),
      }),
    settle: (reservation) => time('settle', () => usage.settle(reservation)),
    release: (reservation) => time('release', () => usage.release(reservation)),
    read: (request) => time('read', () => usage.read(request)),
    count: (request) => time('count', () => usage.count(request)),
    check: () => time('check', () => usage.check()),
  }
}

function kindOf(error: unknown): Result {
  if (error instanceof ObjectNotFound) return 'not_found'
  if (error instanceof ObjectExists) return 'exists'
  return error instanceof StorageFull ? 'full' : 'error'
}
