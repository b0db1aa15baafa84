-- Puts a kept record back into a store that is being rebuilt, or that may lack what was acknowledged (includes/settled.lua); one
-- that has expired stays away.
--
-- KEYS   1-5 see includes/kept.lua  6 store:recovery
-- ARGV   1 collection  2 id  3 JSON  4 revision  5 expires at, ms, '' = never
-- Reply  ok | known (the store is not behind) | alive (nothing is to be put back: nothing was changed)
-- @include settled
-- @include kept
if settled and redis.call('EXISTS', KEYS[6]) == 0 then return { 'alive' } end
local revision = tonumber(ARGV[4])
local present, noted = redis.call('HGET', KEYS[1], 'revision'), redis.call('ZSCORE', KEYS[4], member)
-- Noted and not there: it was removed, which its mirror does not know yet.
if tonumber(present or 0) >= revision or tonumber(noted or 0) > revision then return { 'known' } end
if revision > tonumber(redis.call('GET', KEYS[5]) or '0') then redis.call('SET', KEYS[5], int(revision)) end
local expires = tonumber(ARGV[5])
if not expires or expires > now then
  write(ARGV[3], revision, expires)
else
  erase()
  redis.call('ZADD', KEYS[4], int(revision), member)
end
return { 'ok' }
