import { addAbortSignal, type Readable } from 'node:stream'

/** A stream that fails when the signal is aborted, also while it waits for bytes that do not come. */
export function abortable(stream: Readable, signal: AbortSignal | undefined): Readable {
  return signal === undefined ? stream : addAbortSignal(signal, stream)
}
