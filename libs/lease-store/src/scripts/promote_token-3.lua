-- The next token of a device was used: it is the present one from now on, and the former is dead for new connections.
--
-- KEYS   1 device:<device>  2 token:<former digest>  3 store:incarnation
-- ARGV   1 device  2 former digest  3 digest of the next token
-- Reply  recovering | ok | changed (it is not the next one any more, or somebody else was faster)
-- @include settled
if not settled or redis.call('EXISTS', KEYS[3]) == 0 then return { 'recovering' } end
local known = redis.call('HMGET', KEYS[1], 'token_digest', 'next_digest', 'revoked')
if known[1] ~= ARGV[2] or known[2] ~= ARGV[3] or known[3] == '1' then return { 'changed' } end
redis.call('HSET', KEYS[1], 'token_digest', ARGV[3])
redis.call('HDEL', KEYS[1], 'next_digest')
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('DEL', KEYS[2])
return { 'ok' }
