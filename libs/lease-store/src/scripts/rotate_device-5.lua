-- Gives a device another token. Both are valid until the first use of the new one (promote_token), or the former is dead for
-- new connections at once; a running tenure goes on.
--
-- KEYS   1 device:<device>  2 token:<present digest>  3 token:<next digest, or ''>  4 token:<new digest>  5 store:incarnation
-- ARGV   1 device  2 present digest  3 digest of a next token that was never used, ''  4 new digest  5 '1' = at once
-- Reply  recovering | ok | missing (there is no such device, or it is revoked) | token_taken | changed (read again)
-- @include settled
if not settled or redis.call('EXISTS', KEYS[5]) == 0 then return { 'recovering' } end
local known = redis.call('HMGET', KEYS[1], 'token_digest', 'revoked', 'next_digest')
if not known[1] or known[2] == '1' then return { 'missing' } end
if known[1] ~= ARGV[2] or (known[3] or '') ~= ARGV[3] then return { 'changed' } end
if redis.call('EXISTS', KEYS[4]) == 1 then return { 'token_taken' } end
if ARGV[3] ~= '' then redis.call('DEL', KEYS[3]) end
if ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'token_digest', ARGV[4])
  redis.call('HDEL', KEYS[1], 'next_digest')
  redis.call('DEL', KEYS[2])
else
  redis.call('HSET', KEYS[1], 'next_digest', ARGV[4])
end
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('SET', KEYS[4], ARGV[1])
return { 'ok' }
