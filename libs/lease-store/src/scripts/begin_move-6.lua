-- Begins to move a lease to another listener: ports can be reserved there; the lease stays as it is until move-6.
--
-- KEYS   the six of includes/lease.lua, then what the lease owns
-- ARGV   1 device  2 epoch of the lease  3 the listener that it is to leave  4 TENURE_CONFIRM_MS
-- Reply  ok <epoch under which to reserve> | changed | busy (a tenure is being set up, or another move) | stale | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if undeclared(lease) then return { 'changed' } end
if not lease.state or lease.epoch ~= tonumber(ARGV[2]) or lease.listener ~= ARGV[3] then return { 'stale' } end
if lease.pending then return { 'busy' } end
local last = tonumber(redis.call('HGET', KEYS[2], 'last_epoch') or 0)
local epoch = math.max(last + 1, lease.epoch + 1, now)
lease.pending = { epoch = epoch, since = now, due = now + tonumber(ARGV[4]), move = true, ingress = lease.ingress,
  boot = lease.boot }
redis.call('HSET', KEYS[2], 'last_epoch', int(epoch))
redis.call('HSET', KEYS[1], 'pending', cjson.encode(lease.pending))
set_due(lease)
return { 'ok', epoch }
