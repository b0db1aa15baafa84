-- Gives an endpoint of a lease another host name. The route moves; tenure, ports and running transfers stay.
--
-- KEYS   the six of includes/lease.lua, what the lease owns, route:<host> of the new name
-- ARGV   1 device  2 the device's own number of the endpoint  3 host
-- Reply  ok | same | none (no such endpoint) | no_host (it is a tcp one) | busy (a tenure or a move is pending)
--        | taken <device> | changed | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if undeclared(lease) then return { 'changed' } end
local found
for _, endpoint in ipairs(lease.endpoints) do
  if endpoint.port == tonumber(ARGV[2]) then found = endpoint end
end
if lease.pending then return { 'busy' } end
if not lease.state or not found then return { 'none' } end
if found.scheme == 'tcp' then return { 'no_host' } end
if found.host == ARGV[3] then return { 'same' } end
local former, route = 'route:' .. found.host, 'route:' .. ARGV[3]
local of = redis.call('HGET', route, 'device')
if of then return { 'taken', of } end

-- With what it knows, and the end that it has in grace.
if redis.call('EXISTS', former) == 1 then redis.call('RENAME', former, route) end
redis.call('PUBLISH', 'route.changed', found.host)
redis.call('PUBLISH', 'route.changed', ARGV[3])
found.host = ARGV[3]
redis.call('HSET', KEYS[1], 'endpoints', cjson.encode(lease.endpoints), 'rev', lease.rev + 1, 'seq', lease.seq + 1)
emit('lease.moved', lease.epoch, lease.seq,
  { reason = 'renamed', endpoints = lease.endpoints, listener = lease.listener, previous_listener = lease.listener })
return { 'ok' }
