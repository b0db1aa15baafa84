-- Writes a record, and notes that its mirror is behind.
--
-- KEYS   1-5 see includes/kept.lua  6 store:incarnation
-- ARGV   1 collection  2 id  3 JSON  4 revision it must have, '0' = there must be none, '' = whatever is there
--        5 it goes by itself after this, ms, '' = never
-- Reply  recovering | ok <revision> <expires at, ms, or ''> | changed <present revision, 0 = there is none>
-- @include settled
-- @include kept
if not settled or redis.call('EXISTS', KEYS[6]) == 0 then return { 'recovering' } end
local present = redis.call('HGET', KEYS[1], 'revision') or '0'
if ARGV[4] ~= '' and ARGV[4] ~= present then return { 'changed', present } end
local expires = ARGV[5] ~= '' and now + tonumber(ARGV[5]) or nil
local revision = next_revision()
write(ARGV[3], revision, expires)
return { 'ok', int(revision), expires and int(expires) or '' }
