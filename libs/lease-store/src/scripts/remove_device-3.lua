-- Takes an addition back that could not be kept elsewhere too; only while nothing has come of it.
--
-- KEYS   1 device:<device>  2 token:<digest>  3 devices
-- ARGV   1 device  2 digest
-- Reply  ok | changed
local known = redis.call('HMGET', KEYS[1], 'token_digest', 'last_epoch')
if known[1] ~= ARGV[2] or known[2] then return { 'changed' } end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return { 'ok' }
