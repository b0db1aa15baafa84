-- Confirms a tenure: the lease is held from now on.
--
-- KEYS   the six of includes/lease.lua, what the lease owns, and what it will own: route:<host> of every http and https
--        endpoint, the four keys of the listener, leases:ingress:<id> and instance:<id> of the ingress, instances:known
-- ARGV   1 device  2 epoch of the tenure  3 listener  4 JSON of the endpoints  5 host of route addresses
--        6 COOL_DOWN_MS  7 fewest transfers at which the edge may keep idle connections
-- Reply  ok <reason> <former state or ''> <former epoch> <former ingress>
--        | stale <boot of the tenure that came between, or ''> | changed | ports_lost <port> | host_taken <host> | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
local tenure, epoch = lease.pending, tonumber(ARGV[2])
if not tenure or tenure.epoch ~= epoch then return { 'stale', tenure and tenure.boot or lease.boot or '' } end
local listener, endpoints = ARGV[3], cjson.decode(ARGV[4])
if undeclared(lease) then return { 'changed' } end

-- Remembers who came, so that two that oust each other in turn are found out (damp-6.lua).
local BOOTS_KEPT = 8
local function note_boot(former, newcomer)
  if newcomer.boot == '' or newcomer.boot == former.boot then return end
  local boots = former.boots and cjson.decode(former.boots) or {}
  boots[#boots + 1] = { boot = newcomer.boot, remote = newcomer.remote, at = now }
  while #boots > BOOTS_KEPT do table.remove(boots, 1) end
  redis.call('HSET', KEYS[1], 'boots', cjson.encode(boots))
end

local free_list = 'ports:' .. listener
local wanted, kept_hosts = {}, {}
for _, endpoint in ipairs(endpoints) do
  local holder = redis.call('HGET', free_list .. ':held', endpoint.public_port)
  if holder ~= owner(epoch) and not (holder == owner(lease.epoch) and lease.listener == listener) then
    return { 'ports_lost', endpoint.public_port }
  end
  wanted[endpoint.public_port] = true
end
for _, endpoint in ipairs(routes_of(endpoints)) do
  local of = redis.call('HGET', 'route:' .. endpoint.host, 'device')
  if of and of ~= device then return { 'host_taken', endpoint.host } end
  kept_hosts[endpoint.host] = true
end

-- What the former endpoints had and the new ones have not.
local former = { state = lease.state or '', epoch = lease.epoch, ingress = lease.ingress or '' }
local gone_ports, gone_routes = {}, {}
for _, endpoint in ipairs(lease.endpoints) do
  if lease.listener ~= listener or not wanted[endpoint.public_port] then gone_ports[#gone_ports + 1] = endpoint.public_port end
  if endpoint.scheme ~= 'tcp' and not kept_hosts[endpoint.host] then gone_routes[#gone_routes + 1] = endpoint end
end
if lease.state then
  give_back(lease.listener, gone_ports, owner(lease.epoch), now + tonumber(ARGV[6]))
  drop_routes(gone_routes)
  redis.call('ZREM', 'leases:ingress:' .. lease.ingress, device)
  redis.call('ZREM', 'leases:listener:' .. lease.listener, device)
end
local spare = {} -- reserved, but not needed in the end
for _, port in ipairs(tenure.ports or {}) do
  if not wanted[port] then spare[#spare + 1] = port end
end
tenure.ports = spare
drop_pending(lease)
for port in pairs(wanted) do redis.call('HSET', free_list .. ':held', port, owner(epoch)) end

local reason = 'connected'
if former.state == 'held' then
  reason = (tenure.boot ~= '' and tenure.boot == lease.boot) and 'moved' or 'taken_over'
  if reason == 'taken_over' then
    emit('device.disconnected', former.epoch, lease.seq, { reason = reason, ingress = former.ingress })
  end
elseif former.state ~= '' then
  reason = 'resumed'
end
emit(former.state == '' and 'lease.granted' or 'lease.resumed', epoch, 0,
  { reason = reason, endpoints = endpoints, listener = listener })
emit('device.connected', epoch, 1, {
  reason = reason, ingress = tenure.ingress, remote = tenure.remote, boot = tenure.boot, endpoints = endpoints,
  listener = listener, previous_epoch = former.state == 'held' and former.epoch or nil,
})

local instance = redis.call('GET', 'instance:' .. tenure.ingress)
redis.call('HSET', KEYS[1], 'device', device, 'state', 'held', 'epoch', int(epoch), 'rev', 0, 'seq', 2,
  'since', int(now), 'due', '', 'ingress', tenure.ingress, 'control', tenure.control, 'listener', listener,
  'ingress_incarnation', instance and cjson.decode(instance).incarnation or '', 'endpoints', ARGV[4],
  'boot', tenure.boot, 'remote', tenure.remote, 'warm', tenure.warm, 'transfers', tenure.transfers,
  'max_frame', tenure.max_frame, 'token_digest', tenure.token_digest)
note_boot(lease, tenure)
redis.call('HDEL', KEYS[1], 'unseen')
redis.call('PERSIST', KEYS[1])
redis.call('ZADD', KEYS[3], 0, device)
redis.call('ZREM', KEYS[4], device)
redis.call('ZADD', 'leases:listener:' .. listener, 0, device)
redis.call('ZADD', 'leases:ingress:' .. tenure.ingress, 0, device)
redis.call('HSETNX', 'instances:known', tenure.ingress, '{"service":"ws-ingress","incarnation":""}')
for _, endpoint in ipairs(routes_of(endpoints)) do
  local route = 'route:' .. endpoint.host
  redis.call('HSET', route, 'device', device, 'address', ARGV[5] .. ':' .. endpoint.public_port, 'scheme', endpoint.scheme,
    'state', 'held', 'since', int(now), 'epoch', int(epoch),
    'keepalive', tenure.transfers >= tonumber(ARGV[7]) and '1' or '0', 'port', int(endpoint.port))
  redis.call('PERSIST', route)
  redis.call('PUBLISH', 'route.changed', endpoint.host)
end
redis.call('PUBLISH', 'route.changed', 'lease ' .. device) -- which names it has; domains of its own follow them
return { 'ok', reason, former.state, former.epoch, former.ingress }
