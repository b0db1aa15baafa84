-- Addresses of our own instances, as they register themselves in Redis.

local cache = require('culvert.cache')
local json = require('culvert.json')
local peer = require('culvert.peer')
local redis = require('culvert.redis')
local settings = require('culvert.settings')
local clock = require('culvert.clock')

local AGE_MS = 1000
local INGRESS = 'ws-ingress'
local LISTENER = 'tcp-listener'
local ADMIN = 'admin'

local M = {}

--- The address in an instance's record; nil when it is no live instance of that service.
local function address_of(text, service, states)
  if type(text) ~= 'string' then return nil end
  local record, err = json.decode(text)
  if type(record) ~= 'table' then
    ngx.log(ngx.WARN, 'an instance record is not JSON: ', err)
    return nil
  end
  -- The service is checked, or any internal address could be reached by naming its instance.
  if record.service ~= service or not states[record.state] or not peer.parse(record.address) then return nil end
  return record.address
end

local function load_all(service)
  local lost
  local replies, err = redis.run(function(red)
    local ids, why = red:zrangebyscore('instance:index:' .. service, clock.now_ms(), '+inf')
    lost = ids and #ids == 0 and redis.has_lost_all(red)
    if not ids or #ids == 0 then return ids, why end
    for i, id in ipairs(ids) do ids[i] = 'instance:' .. id end
    return red:mget(unpack(ids))
  end)
  if not replies then return nil, err end
  if lost then return nil, 'recovering' end
  local addresses = {}
  for _, text in ipairs(replies) do addresses[#addresses + 1] = address_of(text, service, { live = true }) end
  return #addresses > 0 and table.concat(addresses, ' ') or false
end

local function load_listener(id)
  local lost
  local text, err = redis.run(function(red)
    local found, why = red:get('instance:' .. id)
    lost = found == ngx.null and redis.has_lost_all(red)
    return found, why
  end)
  if not text then return nil, err end
  if lost then return nil, 'recovering' end
  -- One that winds down still ends the transfers that it asked for.
  return address_of(text, LISTENER, { live = true, winding_down = true }) or false
end

local known

local function store()
  known = known or cache.new({
    values = 'culvert_instances',
    misses = 'culvert_misses',
    age_ms = AGE_MS,
    stale_ms = settings.route_stale_ms,
    load = function(key)
      if key == INGRESS or key == ADMIN then return load_all(key) end
      return load_listener(key:match('^listener (.+)$'))
    end,
  })
  return known
end

--- Live instances in the order in which to try them: those that failed of late last, the others at random. An empty list
--- when there is none; nil and an error when that is not known. `anew` reads Redis whatever the age.
local function live(service, anew)
  local text, err = store():get(service, anew)
  if text == nil then return nil, err end
  local peers = {}
  for address in (text or ''):gmatch('%S+') do
    local one = peer.parse(address)
    one.failed_at, one.lot = peer.failed_at(address), math.random()
    peers[#peers + 1] = one
  end
  table.sort(peers, function(a, b)
    if a.failed_at ~= b.failed_at then return a.failed_at < b.failed_at end
    return a.lot < b.lot
  end)
  return peers
end

--- Live ingresses, as `live` says.
function M.ingresses(anew) return live(INGRESS, anew) end

--- Live instances of the admin API, likewise.
function M.admins() return live(ADMIN, false) end

--- The transfer address of a listener; false when there is no such listener; nil and an error when that is not known. `anew`
--- reads Redis whatever the age.
function M.listener(id, anew)
  local address, err = store():get('listener ' .. id, anew)
  if not address then return address, err end
  return peer.parse(address)
end

return M
