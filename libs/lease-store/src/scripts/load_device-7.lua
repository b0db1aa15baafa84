-- Puts a device of the kept registry back into a store that is being rebuilt.
--
-- KEYS   1 device:<device>  2 token:<digest>  3 devices  4 store:recovery  5 token:<next digest>
-- ARGV   1 device  2 digest  3 created at, ms  4 '1' = revoked  5 generation  6 digest of its next token, '' = none
-- Reply  ok | alive (the store is not being rebuilt: nothing was changed)
if redis.call('EXISTS', KEYS[4]) == 0 then return { 'alive' } end
redis.call('HSET', KEYS[1], 'token_digest', ARGV[2], 'created_at', ARGV[3], 'revoked', ARGV[4], 'generation', ARGV[5])
if ARGV[4] == '1' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[1]) end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'next_digest', ARGV[6])
  redis.call('SET', KEYS[5], ARGV[1])
end
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return { 'ok' }
