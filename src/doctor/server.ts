import type { Config } from '../config.ts'
import { unreachableBecause } from '../welcome.ts'
import { ask, PLAIN } from './ask.ts'
import { bad, good, reasonOf, skipped, type Verdict } from './verdict.ts'

/** The server's public address as the configuration has it; none if it takes any port. */
export function publicBase({ publicUrl, port }: Config): string | undefined {
  return publicUrl ?? (port === 0 ? undefined : `http://localhost:${port}`)
}

/** Whether the public address leads to a server that runs. */
export async function serverVerdict(config: Config): Promise<Verdict> {
  const base = publicBase(config)
  if (base === undefined) return skipped('PORT=0 and no PUBLIC_URL: there is no telling where it is')
  const problem = await problemAt(base)
  if (problem === undefined) return good(`answers at ${base}`)
  const direct = directBase(config)
  if (direct !== undefined && direct !== base && (await problemAt(direct)) === undefined)
    return bad(
      `runs at ${direct}, but ${problem}; PUBLIC_URL, its name and the proxy behind it must lead there`,
    )
  return bad(`is not running, or not to be found: ${problem}; start it (npm start), or set PUBLIC_URL`)
}

/** Whether a model's servers could reach the address of the images. That they cannot is right for trying out. */
export async function reachVerdict(base: string, variable: string): Promise<Verdict> {
  const reason = unreachableBecause(base)
  return reason === undefined
    ? good(`${base} is one that models can reach`)
    : skipped(`no model can fetch from ${base}: ${reason}; set ${variable} to your public address`)
}

function directBase({ host, port }: Config): string | undefined {
  if (port === 0) return undefined
  const here = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${here.includes(':') ? `[${here}]` : here}:${port}`
}

/** Why there is no server of ours at an address, if there is none. */
async function problemAt(base: string): Promise<string | undefined> {
  try {
    const { status, body } = await ask(`${base}/healthz`, { headers: PLAIN })
    if (status === 200 && body.toString() === '{"status":"ok"}') return undefined
    return `what answers at ${base}/healthz is not Layover (${status})`
  } catch (error) {
    return reasonOf(error)
  }
}
