-- Gives an unconfirmed tenure up: its ports return, the lease stays what it was before.
--
-- KEYS   the six of includes/lease.lua, then what the lease owns
-- ARGV   1 device  2 epoch of the tenure
-- Reply  ok | stale | changed
-- @include lease

local lease = load()
if not lease.pending or lease.pending.epoch ~= tonumber(ARGV[2]) then return { 'stale' } end
if undeclared(lease) then return { 'changed' } end
drop_pending(lease)
set_due(lease)
if not lease.state then redis.call('DEL', KEYS[1]) end
return { 'ok' }
