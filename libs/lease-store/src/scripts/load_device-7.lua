-- Puts a device of the kept registry back into a store that is being rebuilt, or that may lack what was acknowledged (includes/settled.lua).
-- Of two states of a device that with the higher generation is the later.
--
-- KEYS   1 device:<device>  2 token:<digest>  3 devices  4 store:recovery  5 token:<next digest>
--        6 token:<present digest> and 7 token:<present next digest> of the device as the store has it
-- ARGV   1 device  2 digest  3 created at, ms  4 '1' = revoked  5 generation  6 digest of its next token, '' = none
--        7 digest and 8 next digest as the store has them, '' = none
-- Reply  ok | known (the store is not behind) | changed (read again) | alive (nothing is to be put back: nothing was changed)
-- @include settled
if settled and redis.call('EXISTS', KEYS[4]) == 0 then return { 'alive' } end
local known = redis.call('HMGET', KEYS[1], 'token_digest', 'next_digest', 'generation')
if known[1] and tonumber(known[3] or 0) >= tonumber(ARGV[5]) then return { 'known' } end
if (known[1] or '') ~= ARGV[7] or (known[2] or '') ~= ARGV[8] then return { 'changed' } end
redis.call('DEL', KEYS[6], KEYS[7])
redis.call('HSET', KEYS[1], 'token_digest', ARGV[2], 'created_at', ARGV[3], 'revoked', ARGV[4], 'generation', ARGV[5])
redis.call('HDEL', KEYS[1], 'next_digest')
if ARGV[4] == '1' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[1]) end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'next_digest', ARGV[6])
  redis.call('SET', KEYS[5], ARGV[1])
end
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return { 'ok' }
