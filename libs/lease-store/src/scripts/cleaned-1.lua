-- Notes that all leases of a gone instance were released, unless it has gone once more meanwhile.
--
-- KEYS   1 instances:cleanup
-- ARGV   1 id of the instance  2 score that it had when the release began
-- Reply  1 noted, 0 not
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
