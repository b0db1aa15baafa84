-- Begins a tenure: gives it an epoch and remembers it beside the lease, which stays as it is until the confirm.
--
-- KEYS   the six of includes/lease.lua, then what the lease owns
-- ARGV   1 device  2 epoch that the lease is expected to have, 0 = there is none  3 '1' when it may be held
--        4 JSON of the tenure {ingress, control, boot, remote, warm, transfers, max_frame, token_digest}
--        5 TENURE_CONFIRM_MS  6 how old another unconfirmed tenure must be to be given up, in ms
-- Reply  ok <epoch> | changed (read again) | busy (another tenure is being set up) | unauthorized | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local registry = redis.call('HMGET', KEYS[2], 'token_digest', 'revoked', 'last_epoch')
local tenure = cjson.decode(ARGV[4])
if registry[1] ~= tenure.token_digest or registry[2] == '1' then return { 'unauthorized' } end

local lease = load()
if undeclared(lease) then return { 'changed' } end
if lease.epoch ~= tonumber(ARGV[2]) then return { 'changed' } end
if lease.state == 'held' and ARGV[3] ~= '1' then return { 'changed' } end
local other = lease.pending
if other and now - other.since < tonumber(ARGV[6]) and (other.boot == '' or other.boot ~= tenure.boot) then
  return { 'busy' }
end
drop_pending(lease)

tenure.epoch = math.max(tonumber(registry[3] or 0) + 1, lease.epoch + 1, now)
tenure.since, tenure.due = now, now + tonumber(ARGV[5])
redis.call('HSET', KEYS[2], 'last_epoch', int(tenure.epoch))
redis.call('HSET', KEYS[1], 'device', device, 'pending', cjson.encode(tenure))
lease.pending = tenure
set_due(lease)
return { 'ok', tenure.epoch }
