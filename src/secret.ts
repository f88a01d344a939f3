import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ConfigError } from './config.ts'
import { readOrCreate } from './data-file.ts'

/**
 * The secret that owner marks are made with: the configured one, or the one kept in `dataDir`, made at first start unless `mayCreate` is
 * false.
 */
export async function openSecret(
  config: { dataDir: string; secret?: Buffer | undefined },
  { mayCreate = true }: { mayCreate?: boolean } = {},
): Promise<Buffer> {
  if (config.secret !== undefined) return config.secret
  const path = join(config.dataDir, 'secret')
  const { text } = await readOrCreate(path, `${randomBytes(32).toString('hex')}\n`, { mayCreate })
  const secret = Buffer.from(text.trim(), 'hex')
  if (secret.length < 32)
    throw new ConfigError(`${path} does not hold 32 bytes in hexadecimal; restore or delete it`)
  return secret
}
