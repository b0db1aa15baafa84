-- Host names of devices' own, as operators' data in the store:
--
--   kept:domain:<host>   value {"device","port","certificate":{"chain","key",...}}
--   lease:<device>       endpoints [{"port","host"?,...}]: which host name the endpoint has at present
--
-- A domain of its own leads to an endpoint of a device, and is served by the route of that endpoint's generated name: so it
-- follows the lease through everything that can happen to it, with no second copy of what is true.

local json = require('culvert.json')

local M = {}

--- The record of a host: a table; false when there is none; nil and an error.
function M.read(red, host)
  local text, err = red:hget('kept:domain:' .. host, 'value')
  if not text then return nil, err end
  if text == ngx.null then return false end
  local value
  value, err = json.decode(text)
  if type(value) ~= 'table' then return nil, err or 'the domain ' .. host .. ' is no object' end
  return value
end

--- `@<device> <port>`, by which a domain of its own is told from a route; false when there is none; nil and an error.
function M.target(red, host)
  local value, err = M.read(red, host)
  if not value then return value, err end
  if type(value.device) ~= 'string' or not tonumber(value.port) then return nil, 'the domain ' .. host .. ' names no endpoint' end
  return ('@%s %d'):format(value.device, value.port)
end

--- Device and port of such a text; nil when it is a route.
function M.parse(text)
  local device, port = text:match('^@(%S+) (%d+)$')
  return device, port
end

--- The generated names of a device: `<port>=<host>`, one after the other; false when it has none; nil and an error.
function M.names(red, device)
  local text, err = red:hget('lease:' .. device, 'endpoints')
  if not text then return nil, err end
  if text == ngx.null then return false end
  local endpoints
  endpoints, err = json.decode(text)
  if type(endpoints) ~= 'table' then return nil, err or 'the endpoints of ' .. device .. ' are no list' end
  local names = {}
  for _, endpoint in ipairs(endpoints) do
    if type(endpoint.host) == 'string' then names[#names + 1] = ('%d=%s'):format(endpoint.port, endpoint.host) end
  end
  return #names > 0 and table.concat(names, ' ')
end

--- The name of an endpoint among those; nil when it has none.
function M.name_of(names, port) return (' ' .. names .. ' '):match(' ' .. port .. '=(%S+) ') end

return M
