-- Ends the holding of a lease: to grace at once when the ending was clean, else to reconnecting first.
--
-- KEYS   the six of includes/lease.lua, what the lease owns, instance:<id> of its ingress
-- ARGV   1 device  2 epoch  3 control connection, '' = whichever, because the whole ingress is gone
--        4 reason  5 how long to stay reconnecting in ms, 0 = grace at once  6 GRACE_MS  7 RECORD_SLACK_MS
-- Reply  ok <state> | unchanged <state> (released before) | stale | changed | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if not lease.state or lease.epoch ~= tonumber(ARGV[2]) then return { 'stale' } end
if undeclared(lease) then return { 'changed' } end
if ARGV[3] == '' then
  local instance = redis.call('GET', 'instance:' .. lease.ingress)
  local incarnation_now = instance and cjson.decode(instance).incarnation
  -- It lives after all, or nobody knows which of its starts held this lease.
  if instance and (lease.ingress_incarnation == '' or incarnation_now == lease.ingress_incarnation) then return { 'stale' } end
elseif lease.control ~= ARGV[3] then
  return { 'stale' }
end
if lease.state ~= 'held' then return { 'unchanged', lease.state } end

local reason, wait, slack = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[7])
lease.reason = reason
redis.call('HSET', KEYS[1], 'reason', reason)
-- Who says goodbye is ousted by nobody.
if reason == 'bye' then redis.call('HDEL', KEYS[1], 'boots') end
emit('device.disconnected', lease.epoch, lease.seq, { reason = reason, ingress = lease.ingress })
lease.seq = lease.seq + 1
if wait > 0 then enter(lease, 'reconnecting', now + wait, slack) else enter_grace(lease, tonumber(ARGV[6]), slack) end
return { 'ok', lease.state }
