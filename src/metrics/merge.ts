import { AggregatorRegistry, type MetricObject, type Registry } from '@prometheus-io/client'

/** A process's metrics at a moment, as they can be sent to another one. */
export type Samples = readonly Sampled[]

type Sampled = Pick<MetricObject, 'name' | 'help' | 'type' | 'aggregator'> & {
  readonly values: readonly { readonly value: number }[]
}

/** The metrics of several processes as those of one: each by its `aggregator`, which is their sum unless it says otherwise. */
export function merged(all: readonly Samples[]): Registry {
  return AggregatorRegistry.aggregate([...all])
}

/** Of a process that has ended: what it has counted, without what it was. */
export function lastingIn(samples: Samples): Samples {
  return samples.filter(({ type }) => type !== 'gauge')
}

/** What two processes have counted. */
export function sumOf(one: Samples, other: Samples): Samples {
  // The library's type does not tell of the values that are there.
  return merged([one, other]).getMetricsAsArray() as unknown as Samples
}

/** Samples that came as JSON, which has no word for what is not a number. */
export function received(samples: Samples): Samples {
  const isNumber = (value: number | null) => value !== null
  return samples.map((metric) => ({
    ...metric,
    values: metric.values.map((sample) =>
      isNumber(sample.value) ? sample : { ...sample, value: Number.NaN },
    ),
  }))
}
