/**
 * All that is kept of a key is one hash, so that one script sees it at one moment. Its fields are slots (`<ends>` → bytes) and
 * reservations (`r<id>` → `<bytes> <ends> <expires>`). Numbers go in and out as text: Lua would round and rewrite large ones.
 */

/**
 * KEYS: hash. ARGV: reservation's field and value, its bytes, the limit, now, the end of the last slot that is free (all ms),
 * ms to keep the hash. Answers 1, or all fields and values of the hash if too little is left.
 */
const reserve = `
local bytes, limit, now, free = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local entries = redis.call('HGETALL', KEYS[1])
local counted = 0
for i = 1, #entries, 2 do
  local field, value = entries[i], entries[i + 1]
  local ends = tonumber(field)
  if ends then
    if ends <= free then
      redis.call('HDEL', KEYS[1], field)
    else
      counted = counted + tonumber(value)
    end
  elseif field == ARGV[1] then
    -- Sent again as the connection broke before the answer.
    return 1
  else
    local held, ends, expires = string.match(value, '(%d+) (%d+) (%d+)')
    if tonumber(expires) > now then
      counted = counted + tonumber(held)
    elseif tonumber(ends) <= free then
      -- Not all whose hold is over: they may yet be settled, and count for as long as others of their time.
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
local fits = counted + bytes <= limit
if fits then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[7]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
return fits and 1 or redis.call('HGETALL', KEYS[1])
`

/** KEYS: hash. ARGV: reservation's field. The slot is filled first: an empty hash would go, and its time to live with it. */
const settle = `
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then
  return 0
end
local bytes, ends = string.match(value, '^(%d+) (%d+) ')
redis.call('HINCRBY', KEYS[1], ends, bytes)
return redis.call('HDEL', KEYS[1], ARGV[1])
`

/** KEYS: counter. ARGV: ms to keep it. Answers the count. */
const count = `
local count = redis.call('INCR', KEYS[1])
if count == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return count
`

export const SCRIPTS = {
  layoverReserve: { lua: reserve, numberOfKeys: 1 },
  layoverSettle: { lua: settle, numberOfKeys: 1 },
  layoverCount: { lua: count, numberOfKeys: 1 },
}

/** The scripts as methods of the client. */
export interface ScriptCommands {
  layoverReserve(hash: string, ...args: (string | number)[]): Promise<1 | string[]>
  layoverSettle(hash: string, field: string): Promise<number>
  layoverCount(counter: string, keep: number): Promise<number>
}
