import type { FastifyInstance, onRequestAsyncHookHandler } from 'fastify'
import type { Admission } from '../admission.ts'
import type { KeyPlace } from '../keys/presented.ts'
import type { Deps } from '../routes/deps.ts'

export interface AdapterParts {
  readonly app: FastifyInstance
  readonly deps: Deps
  /** Makes the first hook of a route, which looks for the key where the program's clients send it. */
  readonly enter: (places?: readonly KeyPlace[]) => onRequestAsyncHookHandler
  readonly doors: Admission
}

/**
 * Adds another program's way in: it translates that program's request into an upload like any other, and the outcome into that program's
 * answer. Who may upload, what is taken and what is kept is decided where it is for all.
 */
export type Adapter = (parts: AdapterParts) => void

/** What is text and nothing else. */
export const TEXT = 'text/plain; charset=utf-8'
