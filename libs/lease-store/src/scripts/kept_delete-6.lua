-- Removes a record, and notes that its mirror is behind, also when the record is gone already: its mirror may not be.
--
-- KEYS   1-5 see includes/kept.lua  6 store:incarnation
-- ARGV   1 collection  2 id  3 revision it must have, 'expired' = only what has gone by itself, '' = whatever is there
-- Reply  recovering | ok | missing | changed <present revision>
-- @include settled
-- @include kept
if not settled or redis.call('EXISTS', KEYS[6]) == 0 then return { 'recovering' } end
local present = redis.call('HGET', KEYS[1], 'revision')
if present and ARGV[3] ~= '' and ARGV[3] ~= present then return { 'changed', present } end
erase()
next_revision()
return { present and 'ok' or 'missing' }
