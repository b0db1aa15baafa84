-- Does what is due of one lease: an unconfirmed tenure is given up, reconnecting becomes grace, grace ends.
--
-- KEYS   the six of includes/lease.lua, what the lease owns, sweep:floor
-- ARGV   1 device  2 GRACE_MS  3 RECORD_SLACK_MS  4 COOL_DOWN_MS
-- Reply  ok <abandoned epoch or 0> <none | grace | extended | expired> | changed | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if undeclared(lease) then return { 'changed' } end
local abandoned, step = 0, 'none'
if lease.pending and lease.pending.due <= now then
  abandoned = lease.pending.epoch
  drop_pending(lease)
  if not lease.state then redis.call('DEL', KEYS[1]) end
end
if not lease.state and not lease.pending then redis.call('ZREM', KEYS[3], device) end
if lease.state == 'reconnecting' and lease.due <= now then
  if lease.unseen then -- it was held when the store was lost, and nobody has said since that it still is
    emit('device.disconnected', lease.epoch, lease.seq, { reason = lease.reason, ingress = lease.ingress })
    lease.seq = lease.seq + 1
    redis.call('HDEL', KEYS[1], 'unseen')
  end
  enter_grace(lease, tonumber(ARGV[2]), tonumber(ARGV[3]))
  step = 'grace'
elseif lease.state == 'grace' and lease.due <= now and not lease.pending then
  -- After a stop of the whole system every device gets a fair chance to come back before its names go.
  local floor = tonumber(redis.call('GET', 'sweep:floor') or 0)
  if floor > now and lease.due < floor then
    step = 'extended'
    lease.due = floor
    redis.call('HSET', KEYS[1], 'due', int(floor))
  else
    step = 'expired'
    finish(lease, 'grace_over', tonumber(ARGV[4]))
    return { 'ok', abandoned, step }
  end
end
-- A pending tenure keeps a lease past its due time: it is looked at again when that tenure has run out.
if lease.pending and lease.state == 'grace' and lease.due <= now then
  redis.call('ZADD', KEYS[4], int(lease.pending.due), device)
else
  set_due(lease)
end
return { 'ok', abandoned, step }
