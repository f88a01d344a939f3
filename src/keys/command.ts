import { resolve } from 'node:path'
import { z } from 'zod'
import { CommandLineError, type Output } from '../command-line.ts'
import { type Config, ConfigError } from '../config.ts'
import { lifetime, orOff, quantity, rate, SIZE_UNITS } from '../config-values.ts'
import { changeKeys, readKeys } from './change.ts'
import { type KeyRecord, keyFileIn, newKey } from './record.ts'
import { tableOf } from './table.ts'

/** The folder of the keys, and what else may say which are good. */
export type Where = Pick<Config, 'dataDir' | 'apiKeys' | 'authUpstreamUrl'>

/** What `keys create` was told, as text. */
export type KeyOptions = Readonly<
  Record<'name' | 'expires' | 'quota' | 'rate' | 'maxLifetime', string | undefined>
>

/** Makes a key, and shows it. Throws a `CommandLineError` for what makes no sense, and a `ConfigError` for what cannot be done. */
export async function createKey(options: KeyOptions, config: Where, output: Output): Promise<void> {
  const limits = limitsOf(options)
  warnUnlessUsed(config, output)
  const { key, record } = newKey(limits.name, Date.now())
  await changeKeys(config.dataDir, (keys) => {
    if (keys.some(({ name }) => name === record.name))
      throw new ConfigError(
        `There is a key named ${record.name} already; take another name, or revoke it first.`,
      )
    return [...keys, { ...record, ...kept(limits, Date.now()) }]
  })
  output.note(`The key of ${record.name}, shown only this once (${pathOf(config)} keeps its hash):\n`)
  output.result(`${key}\n`)
  output.note('A running server takes it within a second.\n')
}

export async function listKeys({ json }: { json?: boolean }, config: Where, output: Output): Promise<void> {
  warnUnlessUsed(config, output)
  const keys = (await readKeys(config.dataDir)) ?? []
  if (json) {
    const shown = keys.map(({ sha256, name, last4, created, expires, quota, rate, maxLifetime }) => ({
      id: sha256,
      name,
      last4,
      created,
      expires,
      quota,
      rate,
      maxLifetime,
    }))
    return output.result(`${JSON.stringify(shown, null, 2)}\n`)
  }
  output.result(tableOf(keys, Date.now()))
  if (keys.length === 0) output.note(`${pathOf(config)} has no keys.\n`)
}

/** Takes a key back: the one with this name, these last four characters, or an id that begins so. */
export async function revokeKey(which: string, config: Where, output: Output): Promise<void> {
  if (which === '') throw new CommandLineError('say which key')
  warnUnlessUsed(config, output)
  let revoked: KeyRecord | undefined
  await changeKeys(config.dataDir, (keys) => {
    revoked = theOne(keys, which)
    return keys.filter((key) => key !== revoked)
  })
  output.note(
    `The key ${revoked?.name} (…${revoked?.last4}) is revoked; a running server refuses it within a second. ` +
      'Images that it uploaded stay until they expire.\n',
  )
}

function warnUnlessUsed(config: Where, output: Output): void {
  const other = config.apiKeys ? 'API_KEYS' : config.authUpstreamUrl ? 'AUTH_UPSTREAM_URL' : undefined
  if (other) output.note(`${other} is set: the server does not use the keys of ${pathOf(config)}.\n`)
}

/** The only key that is meant. Throws a `ConfigError` if it is none or more than one. */
function theOne(keys: readonly KeyRecord[], which: string): KeyRecord {
  const isId = /^[0-9a-f]{4,64}$/.test(which)
  const meant = keys.filter(
    ({ name, last4, sha256 }) => name === which || last4 === which || (isId && sha256.startsWith(which)),
  )
  const [key] = meant
  if (key === undefined) throw new ConfigError(`There is no key ${which}; "layover keys list" shows all.`)
  if (meant.length === 1) return key
  const ids = meant.map(({ name, sha256 }) => `${sha256.slice(0, 16)} (${name})`)
  throw new ConfigError(`${which} can mean several keys; say the beginning of its id: ${ids.join(', ')}`)
}

const limits = z.object({
  name: z
    .string({ error: 'is missing' })
    .regex(/^[\w.@-]{1,64}$/, 'is not a name of 1 to 64 letters, digits, "_", ".", "@" and "-"'),
  expires: z.string().transform(lifetime).optional(),
  quota: z
    .string()
    .transform(orOff(quantity(SIZE_UNITS)))
    .optional(),
  rate: z.string().transform(rate).optional(),
  maxLifetime: z.string().transform(lifetime).optional(),
})

function limitsOf(values: KeyOptions): z.infer<typeof limits> {
  const { data, error } = limits.safeParse(values)
  if (data) return data
  throw new CommandLineError(
    error.issues.map(({ path, message }) => `--${optionOf(path.join())}: ${message}`).join('; '),
  )
}

/** maxLifetime is --max-lifetime. */
const optionOf = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** What the file keeps of them: "never" is nothing to keep. */
function kept(
  { expires, quota, rate, maxLifetime }: z.infer<typeof limits>,
  now: number,
): Partial<KeyRecord> {
  return {
    ...(expires !== undefined &&
      Number.isFinite(expires) && { expires: new Date(now + expires * 1000).toISOString() }),
    ...(quota !== undefined && { quota }),
    ...(rate !== undefined && { rate }),
    ...(maxLifetime !== undefined && Number.isFinite(maxLifetime) && { maxLifetime }),
  }
}

const pathOf = ({ dataDir }: Where): string => resolve(keyFileIn(dataDir))
