import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'

const folder = join(import.meta.dirname, '../../deploy/kubernetes')

/** An object of Kubernetes, as far as the tests look at it. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is another project's, and what is not there fails a test.
export type Manifest = any

/** All manifests of `deploy/kubernetes`, by their kind. Throws on what is no YAML, and on keys that come twice. */
export function manifests(): ReadonlyMap<string, Manifest> {
  const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'))
  const all = files.flatMap((name) => parseAllDocuments(readFileSync(join(folder, name), 'utf8')))
  for (const { errors, warnings } of all as Manifest[]) {
    const [fault] = [...errors, ...warnings]
    if (fault) throw fault
  }
  return new Map(all.map((document) => document.toJSON()).map((object) => [object.kind, object]))
}

/** The one container of the Deployment. */
export const container = (): Manifest => manifests().get('Deployment').spec.template.spec.containers[0]

/** What its process is started with, apart from what is in the Secret. */
export function environment(): Record<string, string> {
  const own = container().env.map(({ name, value }: { name: string; value: string }) => [name, value])
  return { ...manifests().get('ConfigMap').data, ...Object.fromEntries(own) }
}

/** The names of what is in the Secret, as the command in docs/deployment.md makes it. */
export function secretNames(): string[] {
  const page = readFileSync(join(folder, '../../docs/deployment.md'), 'utf8')
  const [command = ''] = /kubectl create secret generic layover [^`]*/.exec(page) ?? []
  return [...command.matchAll(/--from-literal=(\w+)=/g)].map(([, name = '']) => name)
}
