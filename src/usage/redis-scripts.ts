/**
 * All sums of a key are in one hash, so that one script sees them at one moment. Its fields are
 * slots (`<ends>` → bytes), buckets of open reservations (`h<expires>:<ends>` → `<bytes> <first>`),
 * and the `total` of both, which is right until `due`, when the first of them ends, for a `window`.
 * Each open reservation is besides a string of its own (`<bytes> <slot> <bucket> <first>`), which
 * Redis forgets by itself. `first` is the id of a bucket's first reservation: it tells the bucket
 * from a later one of the same time, as a reservation whose bucket is gone must not take its bytes
 * out of another.
 *
 * Numbers go in and out as text: Lua would round and rewrite large ones.
 */

/**
 * KEYS: sums, reservation. ARGV: its id, bytes, slot and bucket, when its bucket expires, ms to
 * keep it, the limit, now, the window (times in ms). Answers 1, or all fields and values of the
 * sums if too little is left.
 */
const reserve = `
local sums, reservation, id, slot, bucket, window = KEYS[1], KEYS[2], ARGV[1], ARGV[3], ARGV[4], ARGV[9]
local bytes, expires, keep = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])
local limit, now = tonumber(ARGV[7]), tonumber(ARGV[8])
if redis.call('EXISTS', reservation) == 1 then
  -- Sent again as the connection broke before the answer.
  return 1
end

local known = redis.call('HMGET', sums, 'total', 'due', 'window')
local total, due = tonumber(known[1] or 0), tonumber(known[2] or 0)
if due <= now or known[3] ~= window then
  total, due = 0, now + tonumber(window)
  local entries = redis.call('HGETALL', sums)
  for i = 1, #entries, 2 do
    local field, free = entries[i], nil
    if string.find(field, '^%d') then
      free = tonumber(field) + tonumber(window)
    elseif string.find(field, '^h') then
      free = tonumber(string.match(field, '^h(%d+)'))
    end
    if free and free <= now then
      redis.call('HDEL', sums, field)
    elseif free then
      total, due = total + tonumber(string.match(entries[i + 1], '^%d+')), math.min(due, free)
    end
  end
end

local fits = total + bytes <= limit
if fits then
  local held, first = string.match(redis.call('HGET', sums, bucket) or '0 ' .. id, '^(%d+) (.*)$')
  redis.call('HSET', sums, bucket, string.format('%.0f %s', held + bytes, first))
  redis.call('SET', reservation, string.format('%.0f %s %s %s', bytes, slot, bucket, first), 'PX', keep)
  total, due = total + bytes, math.min(due, expires)
end
redis.call('HSET', sums, 'total', string.format('%.0f', total), 'due', string.format('%.0f', due), 'window', window)
if redis.call('PTTL', sums) < keep then
  redis.call('PEXPIRE', sums, keep)
end
return fits and 1 or redis.call('HGETALL', sums)
`

/**
 * KEYS: sums, reservation. ARGV: 'used' or 'unused'. Takes it out of its bucket, if that still
 * counts, and into its slot if it is used.
 */
const close = `
local sums, reservation = KEYS[1], KEYS[2]
local value = redis.call('GET', reservation)
if not value then
  return 0
end
local bytes, slot, bucket, first = string.match(value, '^(%d+) (%d+) (%S+) (.*)$')
local change = 0
local held, current = string.match(redis.call('HGET', sums, bucket) or '', '^(%d+) (.*)$')
if current == first then
  redis.call('HSET', sums, bucket, string.format('%.0f %s', held - bytes, first))
  change = change - bytes
end
if ARGV[1] == 'used' then
  if redis.call('HINCRBY', sums, slot, bytes) == tonumber(bytes) then
    -- A new slot, which may be the first to end.
    redis.call('HDEL', sums, 'due')
  end
  change = change + bytes
  -- The hash may be new, too.
  local keep = redis.call('PTTL', reservation)
  if redis.call('PTTL', sums) < keep then
    redis.call('PEXPIRE', sums, keep)
  end
end
if change ~= 0 then
  redis.call('HINCRBY', sums, 'total', string.format('%.0f', change))
end
return redis.call('DEL', reservation)
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
  layoverReserve: { lua: reserve, numberOfKeys: 2 },
  layoverClose: { lua: close, numberOfKeys: 2 },
  layoverCount: { lua: count, numberOfKeys: 1 },
}

/** The scripts as methods of the client. */
export interface ScriptCommands {
  layoverReserve(sums: string, reservation: string, ...args: (string | number)[]): Promise<1 | string[]>
  layoverClose(sums: string, reservation: string, how: 'used' | 'unused'): Promise<number>
  layoverCount(counter: string, keep: number): Promise<number>
}
