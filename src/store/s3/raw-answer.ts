import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { GetBucketLifecycleConfigurationCommand } from '@aws-sdk/client-s3'

export interface RawAnswer {
  /** What the server sent, once it has. */
  text: string
}

/** Keeps the text of a command's answer beside what the SDK reads from it. */
export function rawAnswer({ middlewareStack }: GetBucketLifecycleConfigurationCommand): RawAnswer {
  const raw: RawAnswer = { text: '' }
  middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      const response = result.response as { body: Readable }
      raw.text = await text(response.body)
      response.body = Readable.from([Buffer.from(raw.text)])
      return result
    },
    { step: 'deserialize', priority: 'low', name: 'rawAnswer' },
  )
  return raw
}
