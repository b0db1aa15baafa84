-- Adds a device, or gives a revoked one a new life under the same name.
--
-- KEYS   1 device:<device>  2 token:<digest>  3 devices  4 store:incarnation
-- ARGV   1 device  2 digest
-- Reply  recovering | ok <created at, ms> | exists | token_taken
-- @include settled
if not settled or redis.call('EXISTS', KEYS[4]) == 0 then return { 'recovering' } end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local known = redis.call('HMGET', KEYS[1], 'token_digest', 'revoked')
if known[1] and known[2] ~= '1' then return { 'exists' } end
if redis.call('EXISTS', KEYS[2]) == 1 then return { 'token_taken' } end
redis.call('HSET', KEYS[1], 'token_digest', ARGV[2], 'created_at', string.format('%.0f', now), 'revoked', '0')
redis.call('HDEL', KEYS[1], 'next_digest')
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('SET', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return { 'ok', now }
