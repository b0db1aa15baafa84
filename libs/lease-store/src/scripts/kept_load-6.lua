-- Puts a kept record back into a store that is being rebuilt; one that has expired stays away.
--
-- KEYS   1-5 see includes/kept.lua  6 store:recovery
-- ARGV   1 collection  2 id  3 JSON  4 revision  5 expires at, ms, '' = never
-- Reply  ok | alive (the store is not being rebuilt: nothing was changed)
-- @include kept
if redis.call('EXISTS', KEYS[6]) == 0 then return { 'alive' } end
local revision = tonumber(ARGV[4])
if revision > tonumber(redis.call('GET', KEYS[5]) or '0') then redis.call('SET', KEYS[5], int(revision)) end
local expires = tonumber(ARGV[5])
if not expires or expires > now then write(ARGV[3], revision, expires) else redis.call('ZADD', KEYS[4], int(revision), member) end
return { 'ok' }
