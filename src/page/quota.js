import { readUsage } from './api.js'
import { find } from './dom.js'
import { say, sayBytes } from './language.js'

/** Shows how much of its quota the key has used, if it has one. Does nothing if that cannot be found out: it is no more than a hint. */
export async function showQuota() {
  const usage = await readUsage().catch(() => undefined)
  const bar = find('.quota', HTMLElement)
  const limit = usage?.quota.limit ?? null
  bar.hidden = usage === undefined || limit === null
  if (usage === undefined || limit === null) return
  const used = usage.quota.used + usage.quota.reserved
  const meter = find('#quota', HTMLMeterElement)
  meter.max = limit
  meter.high = 0.9 * limit
  meter.value = used
  find('#quota-text', HTMLElement).textContent = say('quota', {
    used: sayBytes(used),
    limit: sayBytes(limit),
  })
}
