-- Shared by the scripts about one record of the operators' data. Their first keys are always
--   KEYS[1] kept:<collection>:<id>  KEYS[2] keeping:index:<collection>  KEYS[3] keeping:due
--   KEYS[4] keeping:unmirrored      KEYS[5] keeping:revision
-- and their first arguments ARGV[1] collection, ARGV[2] id.
local member = ARGV[1] .. ' ' .. ARGV[2]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function int(number) return string.format('%.0f', number) end

-- The next revision: above all before it, those of a store that was lost included, for it is not below the clock.
local function next_revision()
  local revision = math.max(now, tonumber(redis.call('GET', KEYS[5]) or '0') + 1)
  redis.call('SET', KEYS[5], int(revision))
  redis.call('ZADD', KEYS[4], int(revision), member)
  return revision
end

local function write(value, revision, expires)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'value', value, 'revision', int(revision))
  redis.call('ZADD', KEYS[2], 0, ARGV[2])
  if expires then
    redis.call('HSET', KEYS[1], 'expires_at', int(expires))
    redis.call('PEXPIREAT', KEYS[1], int(expires))
    redis.call('ZADD', KEYS[3], int(expires), member)
  else
    redis.call('ZREM', KEYS[3], member)
  end
end

local function erase()
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('ZREM', KEYS[3], member)
end
