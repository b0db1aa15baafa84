-- Shared by every script that changes a lease. Their first keys are always
--   KEYS[1] lease:<device>   KEYS[2] device:<device>   KEYS[3] leases
--   KEYS[4] leases:due       KEYS[5] outbox            KEYS[6] store:incarnation
-- followed by the keys of what the lease owns (routes, ports, indexes), as the caller knew them from a read before.
-- undeclared() finds out, before anything is written, whether the lease has since come to own something else.
-- @include settled
local device = ARGV[1]
local incarnation = settled and redis.call('GET', KEYS[6])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local declared = {}
for _, key in ipairs(KEYS) do declared[key] = true end

local function int(number) return string.format('%.0f', number) end
local function owner(epoch) return device .. ' ' .. int(epoch) end

local function load()
  local flat, lease = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #flat, 2 do lease[flat[i]] = flat[i + 1] end
  lease.epoch = tonumber(lease.epoch or 0)
  lease.rev = tonumber(lease.rev or 0)
  lease.seq = tonumber(lease.seq or 0)
  if lease.epoch < seq_floor then lease.seq = math.max(lease.seq, seq_floor) end
  lease.due = tonumber(lease.due or '')
  lease.endpoints = lease.endpoints and cjson.decode(lease.endpoints) or {}
  lease.pending = lease.pending and cjson.decode(lease.pending) or nil
  return lease
end

local function routes_of(endpoints)
  local hosts = {}
  for _, endpoint in ipairs(endpoints) do
    if endpoint.scheme ~= 'tcp' then hosts[#hosts + 1] = endpoint end
  end
  return hosts
end

local function undeclared(lease)
  local function missing(listener)
    return listener and not (declared['ports:' .. listener] and declared['ports:' .. listener .. ':held']
      and declared['ports:' .. listener .. ':range'] and declared['leases:listener:' .. listener])
  end
  for _, endpoint in ipairs(routes_of(lease.endpoints)) do
    if not declared['route:' .. endpoint.host] then return true end
  end
  if lease.state and not declared['leases:ingress:' .. lease.ingress] then return true end
  return missing(lease.listener) or (lease.pending and missing(lease.pending.listener)) or false
end

-- Appends an event; its place in the order is (epoch, seq).
local function emit(type, epoch, seq, data)
  data.epoch, data.seq = epoch, seq
  redis.call('XADD', KEYS[5], '*', 'id', incarnation .. ':' .. device .. ':' .. int(epoch) .. ':' .. seq,
    'type', type, 'device', device, 'data', cjson.encode(data), 'time', int(now))
end

-- Gives back those of the ports that are still held as `holder`; they may be given out again from `at` on.
local function give_back(listener, ports, holder, at)
  local held = 'ports:' .. listener .. ':held'
  local first, last = string.match(redis.call('GET', 'ports:' .. listener .. ':range') or '', '^(%d+)-(%d+)$')
  for _, port in ipairs(ports) do
    if redis.call('HGET', held, port) == holder then
      redis.call('HDEL', held, port)
      if first and port >= tonumber(first) and port <= tonumber(last) then
        redis.call('ZADD', 'ports:' .. listener, int(at), int(port))
      end
    end
  end
end

local function public_ports(endpoints)
  local ports = {}
  for i, endpoint in ipairs(endpoints) do ports[i] = endpoint.public_port end
  return ports
end

local function drop_routes(endpoints)
  for _, endpoint in ipairs(routes_of(endpoints)) do
    redis.call('DEL', 'route:' .. endpoint.host)
    redis.call('PUBLISH', 'route.changed', endpoint.host)
  end
end

-- The tenure that was never confirmed is over: its ports were never told to anyone, so they need no cool-down.
local function drop_pending(lease)
  local pending = lease.pending
  if not pending then return end
  if pending.listener then give_back(pending.listener, pending.ports, owner(pending.epoch), now) end
  redis.call('HDEL', KEYS[1], 'pending')
  lease.pending = nil
end

-- When somebody has to look at this lease again: the earlier of its own due time and that of a pending tenure.
local function set_due(lease)
  local due = lease.pending and lease.pending.due
  if lease.state and lease.due and (not due or lease.due < due) then due = lease.due end
  if due then redis.call('ZADD', KEYS[4], int(due), device) else redis.call('ZREM', KEYS[4], device) end
end

-- Enters a state other than held: fields, routes, safety nets and due index.
local function enter(lease, state, due, slack)
  lease.state, lease.since, lease.due, lease.rev = state, now, due, lease.rev + 1
  redis.call('HSET', KEYS[1], 'state', state, 'since', int(now), 'due', int(due), 'rev', lease.rev, 'seq', lease.seq)
  redis.call('PEXPIREAT', KEYS[1], int(due + slack))
  redis.call('ZREM', 'leases:ingress:' .. lease.ingress, device)
  for _, endpoint in ipairs(routes_of(lease.endpoints)) do
    local route = 'route:' .. endpoint.host
    redis.call('HSET', route, 'state', state, 'since', int(now))
    redis.call('PEXPIREAT', route, int(due + slack))
    redis.call('PUBLISH', 'route.changed', endpoint.host)
  end
  set_due(lease)
end

local function enter_grace(lease, grace, slack)
  emit('lease.grace', lease.epoch, lease.seq, { reason = lease.reason, due = now + grace, listener = lease.listener })
  lease.seq = lease.seq + 1
  enter(lease, 'grace', now + grace, slack)
end

-- The lease is over: ports cool down, names are free, nothing of it stays but the device's last epoch.
local function finish(lease, reason, cool_down)
  drop_pending(lease)
  emit('lease.expired', lease.epoch, lease.seq, { reason = reason, endpoints = lease.endpoints, listener = lease.listener })
  give_back(lease.listener, public_ports(lease.endpoints), owner(lease.epoch), now + cool_down)
  drop_routes(lease.endpoints)
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[3], device)
  redis.call('ZREM', KEYS[4], device)
  redis.call('ZREM', 'leases:listener:' .. lease.listener, device)
  redis.call('ZREM', 'leases:ingress:' .. lease.ingress, device)
end
