-- Moves a lease to another listener, where its ports are reserved and bound: the tenure, its state and its host names stay.
--
-- KEYS   the six of includes/lease.lua, what the lease owns, the four keys of the listener that it moves to
-- ARGV   1 device  2 epoch of the reservation  3 epoch of the lease  4 the new listener  5 JSON of the endpoints there
--        6 host of route addresses  7 COOL_DOWN_MS  8 reason
-- Reply  ok | stale | changed | ports_lost <port> | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if undeclared(lease) then return { 'changed' } end
local pending, listener, endpoints = lease.pending, ARGV[4], cjson.decode(ARGV[5])
if not pending or not pending.move or pending.epoch ~= tonumber(ARGV[2]) then return { 'stale' } end
if not lease.state or lease.epoch ~= tonumber(ARGV[3]) then return { 'stale' } end
for i, endpoint in ipairs(endpoints) do -- renamed since the mover read it
  if lease.endpoints[i].host ~= endpoint.host then return { 'stale' } end
end
local held, wanted, spare = 'ports:' .. listener .. ':held', {}, {}
for _, endpoint in ipairs(endpoints) do
  if redis.call('HGET', held, endpoint.public_port) ~= owner(pending.epoch) then
    return { 'ports_lost', endpoint.public_port }
  end
  wanted[endpoint.public_port] = true
end

local former = lease.listener
give_back(former, public_ports(lease.endpoints), owner(lease.epoch), now + tonumber(ARGV[7]))
for _, port in ipairs(pending.ports) do
  if not wanted[port] then spare[#spare + 1] = port end
end
pending.ports = spare
drop_pending(lease)
for port in pairs(wanted) do redis.call('HSET', held, port, owner(lease.epoch)) end
emit('lease.moved', lease.epoch, lease.seq,
  { reason = ARGV[8], endpoints = endpoints, listener = listener, previous_listener = former })
redis.call('HSET', KEYS[1], 'endpoints', ARGV[5], 'listener', listener, 'rev', lease.rev + 1, 'seq', lease.seq + 1)
redis.call('ZREM', 'leases:listener:' .. former, device)
redis.call('ZADD', 'leases:listener:' .. listener, 0, device)
for _, endpoint in ipairs(routes_of(endpoints)) do
  redis.call('HSET', 'route:' .. endpoint.host, 'address', ARGV[6] .. ':' .. endpoint.public_port)
  redis.call('PUBLISH', 'route.changed', endpoint.host)
end
set_due(lease)
return { 'ok' }
