-- Takes over what an instance asserts to hold. While the store knows better nothing changes; what the store has lost is
-- written again, tenures with their epochs, so that nobody who is connected notices.
--
-- KEYS   the six of includes/lease.lua, store:recovery, what the lease owns, and what it will own: route:<host> of every http
--        and https endpoint, the four keys of the listener, leases:ingress:<id> and instance:<id> of the ingress,
--        instances:known
-- ARGV   1 device  2 JSON of the asserted lease  3 'ingress' (it holds the connection) or 'listener' (it has bound the ports)
--        4 host of route addresses  5 RECONNECTING_MS  6 GRACE_MS  7 least time in grace  8 RECORD_SLACK_MS
--        9 COOL_DOWN_MS  10 fewest transfers at which the edge may keep idle connections
-- Reply  ok <1 = the listener must be told> [<listener of the lease that this connection holds>] | changed | recovering (and not open yet)
--        | lost <code> [<device> <epoch>]: another tenure has the name, a port or a host, or the device is unknown or revoked; named
--          is who has a port under an older epoch
--        | restored <epoch that was displaced, or 0> <its ingress>
-- @include lease

local recovery = redis.call('HMGET', KEYS[7], 'incarnation', 'until')
if not incarnation then
  if not recovery[2] then return { 'recovering' } end
  incarnation = recovery[1]
end
local said, from_ingress = cjson.decode(ARGV[2]), ARGV[3] == 'ingress'
local registry = redis.call('HMGET', KEYS[2], 'token_digest', 'revoked', 'last_epoch')
if not registry[1] then return { 'lost', 'unauthorized' } end
if registry[2] == '1' then return { 'lost', 'revoked' } end
local lease = load()
if undeclared(lease) then return { 'changed' } end
local slack, in_grace = tonumber(ARGV[8]), said.state == 'grace'

local function hold()
  local instance = redis.call('GET', 'instance:' .. said.ingress)
  redis.call('HSET', KEYS[1], 'state', 'held', 'since', int(math.min(now, said.since)), 'due', '', 'rev', lease.rev, 'ingress', said.ingress,
    'control', said.control, 'boot', said.boot, 'remote', said.remote,
    'ingress_incarnation', instance and cjson.decode(instance).incarnation or '')
  redis.call('HDEL', KEYS[1], 'unseen')
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', 'leases:ingress:' .. said.ingress, 0, device)
  redis.call('HSETNX', 'instances:known', said.ingress, '{"service":"ws-ingress","incarnation":""}')
  lease.state, lease.due, lease.ingress = 'held', nil, said.ingress
  set_due(lease)
end

-- The same tenure: it stands, or it is held again because its connection has lived all the while.
if lease.state and said.epoch == lease.epoch then
  if not from_ingress then
    if said.listener ~= lease.listener then return { 'lost', 'lease_lost' } end
    if said.rev > lease.rev then redis.call('HSET', KEYS[1], 'rev', said.rev) end
    return { 'ok', (said.rev ~= lease.rev or said.state ~= lease.state) and 1 or 0 }
  end
  if lease.state == 'held' then
    if lease.ingress == said.ingress and lease.control == said.control then return { 'ok', 0, lease.listener } end
    return { 'lost', 'lease_lost' }
  end
  local same = lease.ingress == said.ingress and lease.control == said.control and lease.reason == 'ingress_gone'
  if not lease.unseen and not same then return { 'lost', 'lease_lost' } end
  local reason = lease.unseen and 'recovered' or 'reasserted'
  emit('lease.resumed', lease.epoch, lease.seq, { reason = reason, endpoints = lease.endpoints, listener = lease.listener })
  lease.seq, lease.rev = lease.seq + 1, lease.rev + 1
  if same then
    emit('device.connected', lease.epoch, lease.seq, { reason = reason, ingress = said.ingress, remote = said.remote,
      boot = said.boot, endpoints = lease.endpoints, listener = lease.listener })
    lease.seq = lease.seq + 1
  end
  redis.call('HSET', KEYS[1], 'seq', lease.seq)
  hold()
  for _, endpoint in ipairs(routes_of(lease.endpoints)) do
    redis.call('HSET', 'route:' .. endpoint.host, 'state', 'held', 'since', int(now))
    redis.call('PERSIST', 'route:' .. endpoint.host)
    redis.call('PUBLISH', 'route.changed', endpoint.host)
  end
  return { 'ok', 1 }
end
if said.epoch < lease.epoch then return { 'lost', 'lease_lost' } end

-- A newer tenure than the store knows. Had it never been begun here, the store would not have lost it; and a confirm that was
-- lost is proven by the ingress alone, for only then it has the connection.
local begun = tonumber(registry[3] or 0) >= said.epoch
local pending = lease.pending
if begun and not (from_ingress and pending and pending.epoch == said.epoch) then return { 'lost', 'lease_lost' } end

local held, wanted, kept_hosts = 'ports:' .. said.listener .. ':held', {}, {}
for _, endpoint in ipairs(said.endpoints) do
  local holder = redis.call('HGET', held, endpoint.public_port)
  local who, which = string.match(holder or '', '^(%S+) (%d+)$')
  if holder and who ~= device then
    -- A port goes to the next only when the tenure before it is over: with the older epoch, its end is what this store has lost.
    if tonumber(which or 0) < said.epoch then return { 'lost', 'lease_lost', who, which } end
    return { 'lost', 'lease_lost' }
  end
  wanted[endpoint.public_port] = true
end
for _, endpoint in ipairs(routes_of(said.endpoints)) do
  local of = redis.call('HGET', 'route:' .. endpoint.host, 'device')
  if of and of ~= device then return { 'lost', 'lease_lost' } end
  kept_hosts[endpoint.host] = true
end

-- What the displaced tenure had and this one has not.
local displaced = { epoch = lease.state == 'held' and lease.epoch or 0, ingress = lease.ingress or '' }
if pending then
  local spare = {}
  for _, port in ipairs(pending.ports or {}) do
    if pending.listener ~= said.listener or not wanted[port] then spare[#spare + 1] = port end
  end
  pending.ports = spare
  drop_pending(lease)
end
if lease.state then
  local gone_ports, gone_routes = {}, {}
  for _, endpoint in ipairs(lease.endpoints) do
    if lease.listener ~= said.listener or not wanted[endpoint.public_port] then
      gone_ports[#gone_ports + 1] = endpoint.public_port
    end
    if endpoint.scheme ~= 'tcp' and not kept_hosts[endpoint.host] then gone_routes[#gone_routes + 1] = endpoint end
  end
  give_back(lease.listener, gone_ports, owner(lease.epoch), now + tonumber(ARGV[9]))
  drop_routes(gone_routes)
  redis.call('ZREM', 'leases:ingress:' .. lease.ingress, device)
  redis.call('ZREM', 'leases:listener:' .. lease.listener, device)
end
for port in pairs(wanted) do
  redis.call('HSET', held, port, owner(said.epoch))
  redis.call('ZREM', 'ports:' .. said.listener, port)
end

redis.call('HSET', KEYS[2], 'last_epoch', int(math.max(tonumber(registry[3] or 0), said.epoch)))
-- How far the sequence of this epoch had come is lost: the clock in milliseconds is beyond it.
lease.epoch, lease.rev, lease.seq = said.epoch, said.rev, math.max(lease.seq, now)
lease.endpoints, lease.listener, lease.ingress = said.endpoints, said.listener, said.ingress
redis.call('HSET', KEYS[1], 'device', device, 'epoch', int(said.epoch), 'listener', said.listener,
  'endpoints', cjson.encode(said.endpoints), 'control', said.control, 'boot', said.boot, 'remote', said.remote,
  'ingress', said.ingress, 'ingress_incarnation', '', 'warm', said.warm, 'transfers', said.transfers,
  'max_frame', said.max_frame,
  'token_digest', type(said.token_digest) == 'string' and said.token_digest or registry[1])
redis.call('HDEL', KEYS[1], 'reason')
redis.call('ZADD', KEYS[3], 0, device)
redis.call('ZADD', 'leases:listener:' .. said.listener, 0, device)
redis.call('HSETNX', 'instances:known', said.listener, '{"service":"tcp-listener","incarnation":""}')
for _, endpoint in ipairs(routes_of(said.endpoints)) do
  redis.call('HSET', 'route:' .. endpoint.host, 'device', device, 'address', ARGV[4] .. ':' .. endpoint.public_port,
    'scheme', endpoint.scheme, 'state', 'held', 'since', int(now), 'epoch', int(said.epoch),
    'keepalive', said.transfers >= tonumber(ARGV[10]) and '1' or '0', 'port', int(endpoint.port))
  redis.call('PERSIST', 'route:' .. endpoint.host)
  redis.call('PUBLISH', 'route.changed', endpoint.host)
end
redis.call('PUBLISH', 'route.changed', 'lease ' .. device) -- which names it has; domains of its own follow them
if from_ingress then
  emit('lease.resumed', lease.epoch, lease.seq, { reason = 'recovered', endpoints = said.endpoints, listener = said.listener })
  redis.call('HSET', KEYS[1], 'seq', lease.seq + 1)
  hold()
elseif in_grace then
  lease.reason = 'recovered'
  local due = math.max(said.since + tonumber(ARGV[6]), now + tonumber(ARGV[7]))
  enter_grace(lease, due - now, slack)
else
  -- Whether it is still connected its ingress will say; until then nobody is told that it is gone.
  lease.reason = 'ingress_gone'
  redis.call('HSET', KEYS[1], 'reason', lease.reason, 'unseen', '1')
  local left = math.max(0, tonumber(recovery[2] or '0') - now)
  enter(lease, 'reconnecting', now + left + tonumber(ARGV[5]), slack)
  redis.call('HSET', KEYS[1], 'rev', said.rev)
end
return { 'restored', displaced.epoch, displaced.ingress }
