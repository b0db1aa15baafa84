-- Gives a device another token; the former is dead for new connections, a running tenure goes on.
--
-- KEYS   1 device:<device>  2 token:<former digest>  3 token:<new digest>  4 store:incarnation
-- ARGV   1 device  2 former digest  3 new digest
-- Reply  recovering | ok | missing (there is no such device, or it is revoked) | token_taken | changed (read again)
if redis.call('EXISTS', KEYS[4]) == 0 then return { 'recovering' } end
local known = redis.call('HMGET', KEYS[1], 'token_digest', 'revoked')
if not known[1] or known[2] == '1' then return { 'missing' } end
if known[1] ~= ARGV[2] then return { 'changed' } end
if redis.call('EXISTS', KEYS[3]) == 1 then return { 'token_taken' } end
redis.call('HSET', KEYS[1], 'token_digest', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[3], ARGV[1])
return { 'ok' }
