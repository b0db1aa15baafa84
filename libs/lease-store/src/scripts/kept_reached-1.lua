-- Notes how far the stream of the copies is known here: what stands in it up to there, this store has as well.
--
-- KEYS   1 keeping:position
-- ARGV   1 when that stream was made, as it says itself: which one it is  2 sequence
-- Reply  ok | known
local stream, sequence = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+)$')
if stream == ARGV[1] and tonumber(sequence) >= tonumber(ARGV[2]) then return { 'known' } end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
return { 'ok' }
