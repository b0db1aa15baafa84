-- Host name to route, as lease-manager writes it to Redis. Names that are no generated ones may be domains of a device's own
-- (domains.lua): those lead to the route of a generated name, or to nowhere while the device has none.

local cache = require('culvert.cache')
local domains = require('culvert.domains')
local memo = require('culvert.memo')
local peer = require('culvert.peer')
local redis = require('culvert.redis')
local settings = require('culvert.settings')

local FIELDS = { 'device', 'address', 'scheme', 'state', 'since', 'epoch', 'keepalive', 'port', 'stand_in' }
local STATES = { held = true, reconnecting = true, grace = true }
local SCHEMES = { http = true, https = true }

local M = {}

local function fault_of(route)
  if not STATES[route.state] then return 'state' end
  if not SCHEMES[route.scheme] then return 'scheme' end
  if not tonumber(route.since) then return 'since' end
  -- In grace nothing is sent to the device, and the address may be that of a listener long gone.
  if route.state ~= 'grace' and not peer.parse(route.address) then return 'address' end
end

local LEASE = '^lease (.+)$'

--- The route of a host, and where another listener serves it while its own is started again. A stand-in is good for one tenure.
local function read_route(red, host)
  red:init_pipeline(2)
  red:hgetall('route:' .. host)
  red:get('standin:' .. host)
  local replies, err = red:commit_pipeline()
  if not replies then return nil, err end
  local found, text = replies[1], replies[2]
  if found[1] == false then return nil, found[2] end
  if #found == 0 or type(text) ~= 'string' then return found end
  local epoch, address = text:match('^(%d+) (%S+)')
  for i = 1, #found, 2 do
    if found[i] == 'epoch' and found[i + 1] == epoch and peer.parse(address) then
      found[#found + 1] = 'stand_in'
      found[#found + 1] = address
      break
    end
  end
  return found
end

--- `key` is a host name, or `lease <device>`: which names that device has.
local function load(key)
  local host, device, lost = key, key:match(LEASE), nil
  local reply, err = redis.run(function(red)
    local found, why
    if not device then
      found, why = read_route(red, host)
      if not found then return nil, why end
      if #found > 0 then return found end
      found, why = domains.target(red, host)
    else
      found, why = domains.names(red, device)
    end
    if found == false then
      lost = redis.has_lost_all(red)
      return {}
    end
    return found, why
  end)
  if not reply then return nil, err end
  if lost then return nil, 'recovering' end
  if type(reply) == 'string' then return reply end
  if #reply == 0 then return false end
  local hash = {}
  for i = 1, #reply, 2 do hash[reply[i]] = reply[i + 1] end
  local fault = fault_of(hash)
  if fault then return nil, 'route:' .. host .. ' has no valid ' .. fault end
  local line = {}
  for i, field in ipairs(FIELDS) do line[i] = ((hash[field] or ''):gsub('%c', '')) end
  return table.concat(line, '\t')
end

--- The same text comes with every request of a host: what it says is read once. For a domain of a device's own it is a table
--- with `endpoint_of` and `port`.
local parse = memo.of(function(text)
  local device, port = domains.parse(text)
  if device then return { endpoint_of = device, port = port } end
  local route, i = {}, 1
  for value in (text .. '\t'):gmatch('([^\t]*)\t') do
    route[FIELDS[i]] = value
    i = i + 1
  end
  route.since = tonumber(route.since)
  -- Who stands in comes first: the own listener is being started again, and is there when the other is not.
  route.peers = { peer.parse(route.stand_in) }
  route.peers[#route.peers + 1] = peer.parse(route.address)
  return route
end, 1000)

local known

local function store()
  known = known or cache.new({
    values = 'culvert_routes',
    misses = 'culvert_misses',
    age_ms = settings.route_age_ms,
    stale_ms = settings.route_stale_ms,
    load = load,
  })
  return known
end

--- The route of an endpoint by its generated name: one that is offline while it has none.
local function of_endpoint(device, port, anew)
  local names, err = store():get('lease ' .. device, anew)
  if names == nil then return nil, err end
  local name = names and domains.name_of(names, port)
  local text = false
  if name then
    text, err = store():get(name, anew)
    if text == nil then return nil, err end
  end
  if text then return parse(text) end
  -- The name may be a new one by now.
  if not anew and names then return of_endpoint(device, port, true) end
  return { device = device, port = port, state = 'grace' }
end

--- The route of a normalised host name, not to be changed; false when there is none; nil and an error when that is not
--- known. `anew` reads Redis whatever the age.
function M.find(host, anew)
  local text, err = store():get(host, anew)
  if not text then return text, err end
  local found = parse(text)
  if found.endpoint_of then return of_endpoint(found.endpoint_of, found.port, anew) end
  return found
end

--- The same where it can be said without asking anybody; nil otherwise.
function M.fresh(host)
  local text = store():fresh(host)
  local found = text and parse(text)
  if found and not found.endpoint_of then return found end
end

--- Does this edge know the name without asking anybody?
function M.is_known(host) return ngx.shared.culvert_routes:get(host) ~= nil end

--- Forgets a route, or with `lease <device>` the names of a device, that has changed.
function M.drop(key) store():drop(key) end

return M
