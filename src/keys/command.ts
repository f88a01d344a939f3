import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { CommandLineError, type Output } from '../command-line.ts'
import { type Config, ConfigError } from '../config.ts'
import { lifetime, orOff, quantity, rate, SIZE_UNITS } from '../config-values.ts'
import { changeKeys, readKeys } from './change.ts'
import { type KeyRecord, keyFileIn, newKey } from './record.ts'
import { tableOf } from './table.ts'

type Where = Pick<Config, 'dataDir' | 'apiKeys' | 'authUpstreamUrl'>

/** `layover keys …`. Throws a `CommandLineError`, or a `ConfigError` if it is understood but cannot be done. */
export async function keysCommand(args: readonly string[], config: Where, output: Output): Promise<void> {
  const [name = '', ...rest] = args
  const command = new Map(Object.entries({ create, list, revoke })).get(name)
  if (command === undefined)
    throw new CommandLineError(name === '' ? 'what to do is missing' : `no such command: ${name}`)
  const other = config.apiKeys ? 'API_KEYS' : config.authUpstreamUrl ? 'AUTH_UPSTREAM_URL' : undefined
  if (other) output.note(`${other} is set: the server does not use the keys of ${pathOf(config)}.\n`)
  await command(rest, config, output)
}

async function create(args: string[], config: Where, output: Output): Promise<void> {
  const { values } = parsed({
    args,
    options: {
      name: { type: 'string' },
      expires: { type: 'string' },
      quota: { type: 'string' },
      rate: { type: 'string' },
      'max-lifetime': { type: 'string' },
    },
  })
  const limits = limitsOf(values)
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

async function list(args: string[], config: Where, output: Output): Promise<void> {
  const { values } = parsed({ args, options: { json: { type: 'boolean' } } })
  const keys = (await readKeys(config.dataDir)) ?? []
  if (values.json) {
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

async function revoke(args: string[], config: Where, output: Output): Promise<void> {
  const { positionals } = parsed({ args, options: {}, allowPositionals: true })
  const [which, ...more] = positionals
  if (!which || more.length > 0) throw new CommandLineError('say which key, and only one')
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
  'max-lifetime': z.string().transform(lifetime).optional(),
})

function limitsOf(values: Readonly<Record<string, unknown>>): z.infer<typeof limits> {
  const { data, error } = limits.safeParse(values)
  if (data) return data
  throw new CommandLineError(
    error.issues.map(({ path, message }) => `--${path.join()}: ${message}`).join('; '),
  )
}

/** What the file keeps of them: "never" is nothing to keep. */
function kept({ expires, quota, rate, ...others }: z.infer<typeof limits>, now: number): Partial<KeyRecord> {
  const { 'max-lifetime': maxLifetime } = others
  return {
    ...(expires !== undefined &&
      Number.isFinite(expires) && { expires: new Date(now + expires * 1000).toISOString() }),
    ...(quota !== undefined && { quota }),
    ...(rate !== undefined && { rate }),
    ...(maxLifetime !== undefined && Number.isFinite(maxLifetime) && { maxLifetime }),
  }
}

function parsed<T extends Parameters<typeof parseArgs>[0]>(options: T) {
  try {
    return parseArgs(options)
  } catch (error) {
    throw new CommandLineError((error as Error).message)
  }
}

const pathOf = ({ dataDir }: Where): string => resolve(keyFileIn(dataDir))
