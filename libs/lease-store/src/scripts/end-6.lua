-- Ends a lease by the operator's will, in whatever state it is; with a token key it revokes the device as well.
--
-- KEYS   the six of includes/lease.lua, what the lease owns, and for a revocation token:<digest> of the device's
--        present token and of its next one
-- ARGV   1 device  2 reason  3 COOL_DOWN_MS  4 token:<digest> of its present token, '' = the registry stays as it is
--        5 token:<digest> of its next one, 'token:' = there is none  6 the epoch that it must have, '' = whichever
-- Reply  ok <former state or ''> <generation> | missing | stale | changed | rotated (read the tokens again) | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local registry = redis.call('HMGET', KEYS[2], 'token_digest', 'generation', 'next_digest')
if not registry[1] then return { 'missing' } end
local lease = load()
if ARGV[6] ~= '' and lease.epoch ~= tonumber(ARGV[6]) then return { 'stale' } end
if undeclared(lease) then return { 'changed' } end
local generation = tonumber(registry[2] or 0)
if ARGV[4] ~= '' then
  if ARGV[4] ~= 'token:' .. registry[1] or ARGV[5] ~= 'token:' .. (registry[3] or '') then return { 'rotated' } end
  generation = generation + 1
  redis.call('HSET', KEYS[2], 'revoked', '1', 'generation', generation)
  redis.call('HDEL', KEYS[2], 'next_digest')
  redis.call('DEL', ARGV[4], ARGV[5])
end
local former = lease.state or ''
if lease.state == 'held' then
  emit('device.disconnected', lease.epoch, lease.seq, { reason = ARGV[2], ingress = lease.ingress })
  lease.seq = lease.seq + 1
end
if lease.state then
  finish(lease, ARGV[2], tonumber(ARGV[3]))
elseif lease.pending then
  drop_pending(lease)
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[4], device)
end
return { 'ok', former, generation }
