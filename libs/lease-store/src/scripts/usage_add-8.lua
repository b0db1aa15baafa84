-- Adds to what a device has moved on a day, and says when its budget is reached.
--
-- KEYS   the six of includes/lease.lua, 7 usage:<device>:<day>, 8 kept:policy:<device>
-- ARGV   1 device  2 instance that counted  3 its batch: one that was added already is not added again  4 day, YYYY-MM-DD
--        5 bytes to the device  6 to visitors  7 on control connections  8 how long the record stays, ms
-- Reply  recovering | ok <1 = the cap is reached, else 0>
-- @include lease

if not incarnation then return { 'recovering' } end
local usage = KEYS[7]
if redis.call('HGET', usage, 'by:' .. ARGV[2]) ~= ARGV[3] then
  redis.call('HSET', usage, 'by:' .. ARGV[2], ARGV[3])
  for i, field in ipairs({ 'to_device', 'to_visitor', 'control' }) do redis.call('HINCRBY', usage, field, ARGV[4 + i]) end
  redis.call('PEXPIRE', usage, ARGV[8])
end
local value = redis.call('HGET', KEYS[8], 'value')
local policy = value and cjson.decode(value) or {}
local total = 0
for _, moved in ipairs(redis.call('HMGET', usage, 'to_device', 'to_visitor', 'control')) do total = total + tonumber(moved or 0) end

local lease = load()
-- Once for each threshold and day. Without a lease nobody is reachable, and events have no place in the order.
local function announce(reason, limit)
  if not limit or total < limit or not lease.state then return end
  if redis.call('HGET', usage, 'told:' .. reason) == int(limit) then return end
  redis.call('HSET', usage, 'told:' .. reason, int(limit))
  emit('device.budget', lease.epoch, lease.seq, { reason = reason, day = ARGV[4], bytes = total, limit = limit })
  lease.seq = lease.seq + 1
  redis.call('HSET', KEYS[1], 'seq', lease.seq)
end
announce('alert', policy.day_bytes_alert)
announce('cap', policy.day_bytes_cap)
return { 'ok', policy.day_bytes_cap and total >= policy.day_bytes_cap and 1 or 0 }
