-- Removes a record whose mirror was removed from a store that may lack that (includes/settled.lua), unless it was written anew since.
--
-- KEYS   1-5 see includes/kept.lua
-- ARGV   1 collection  2 id  3 when its mirror was removed, ms
-- Reply  ok | known (it is not there, or is newer) | alive (nothing was changed)
-- @include settled
-- @include kept
if settled then return { 'alive' } end
local present = redis.call('HGET', KEYS[1], 'revision')
if not present or (tonumber(present) > tonumber(ARGV[3]) and redis.call('ZSCORE', KEYS[4], member)) then return { 'known' } end
erase()
redis.call('ZREM', KEYS[4], member)
return { 'ok' }
