-- The mirror of a record has caught up, unless the record has changed since it was read.
--
-- KEYS   1 keeping:unmirrored
-- ARGV   1 collection  2 id  3 revision that was mirrored
-- Reply  ok | changed
local member = ARGV[1] .. ' ' .. ARGV[2]
if redis.call('ZSCORE', KEYS[1], member) ~= ARGV[3] then return { 'changed' } end
redis.call('ZREM', KEYS[1], member)
return { 'ok' }
