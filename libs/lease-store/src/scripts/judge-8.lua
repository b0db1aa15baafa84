-- Judges which instances are gone. Silence counts only while the sweeps themselves run without a gap: after one, every
-- known instance gets a full TTL first. A key with another incarnation is proof at any time.
--
-- KEYS   1 sweep:last  2 sweep:amnesty  3 sweep:floor  4 instances:known  5 instances:cleanup  6 outbox
--        7 store:incarnation  8 listeners:gone, then instance:<id> and instance:gone:<id> of every instance to look at
-- ARGV   1 longest gap in ms  2 INSTANCE_TTL_MS  3 least time that leases in grace get after a gap, in ms
--        then, in the order of the keys, the id of each and its service
-- Reply  the ids that were found gone
-- @include settled
if not settled then return {} end
local incarnation = redis.call('GET', KEYS[7])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function int(number) return string.format('%.0f', number) end

local last = tonumber(redis.call('GET', KEYS[1]) or 0)
redis.call('SET', KEYS[1], int(now))
if now - last > tonumber(ARGV[1]) then
  redis.call('SET', KEYS[2], int(now + tonumber(ARGV[2])), 'PX', ARGV[2])
  redis.call('SET', KEYS[3], int(now + tonumber(ARGV[3])), 'PX', ARGV[3])
end
local amnesty = redis.call('EXISTS', KEYS[2]) == 1

local gone = {}
for i = 9, #KEYS, 2 do
  local id, service = ARGV[i - 5], ARGV[i - 4]
  local text, seen = redis.call('GET', KEYS[i]), redis.call('HGET', KEYS[4], id)
  local known, reason = seen and cjson.decode(seen), nil
  if text then
    local record = cjson.decode(text)
    if known and known.incarnation ~= '' and known.incarnation ~= record.incarnation then reason = 'restarted' end
    redis.call('HSET', KEYS[4], id,
      cjson.encode({ service = record.service, incarnation = record.incarnation, state = record.state }))
    redis.call('ZREM', KEYS[8], id)
  elseif known and not amnesty then
    reason = known.state == 'winding_down' and 'stopped' or 'silent'
    redis.call('HDEL', KEYS[4], id)
    -- Should it live after all, it reads here that it must look again at what it has.
    redis.call('SET', KEYS[i + 1], known.incarnation, 'PX', 86400000)
    if known.service == 'tcp-listener' then
      redis.call('ZADD', KEYS[8], int(reason == 'silent' and now - tonumber(ARGV[2]) or now), id)
    end
  end
  if reason then
    gone[#gone + 1] = id
    redis.call('ZADD', KEYS[5], int(now), id)
    if incarnation then
      redis.call('XADD', KEYS[6], '*', 'id', incarnation .. ':' .. id .. ':' .. int(now) .. ':0', 'type', 'instance.gone',
        'device', id, 'time', int(now),
        'data', cjson.encode({ epoch = now, seq = 0, reason = reason, instance = id, service = known.service or service }))
    end
  end
end
return gone
