-- Notes in the holder's event sequence that a newcomer was refused.
--
-- KEYS   the six of includes/lease.lua
-- ARGV   1 device  2 epoch of the holder  3 code  4 address of the newcomer
-- Reply  ok | stale | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if not lease.state or lease.epoch ~= tonumber(ARGV[2]) then return { 'stale' } end
emit('device.refused', lease.epoch, lease.seq, { reason = ARGV[3], code = ARGV[3], remote = ARGV[4] })
redis.call('HSET', KEYS[1], 'seq', lease.seq + 1)
return { 'ok' }
