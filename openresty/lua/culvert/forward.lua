-- What is the same for all requests that are passed on: forged headers go, upgrades stay.

local memo = require('culvert.memo')

local M = {}

local FORGED = { forwarded = true, ['x-real-ip'] = true }

local is_forged = memo.of(function(name)
  name = name:lower():gsub('_', '-') -- gateways of the CGI kind take both for the same
  return (FORGED[name] or name:find('^x%-forwarded%-') or name:find('^culvert%-')) ~= nil
end, 1000)

--- Drops what only the edge may say. The others, by their names in lower case: read at once, they cost a quarter of what one
--- variable after the other does. The value of a name that comes more than once is a list.
function M.drop_forged()
  local headers = ngx.req.get_headers(0)
  for name in pairs(headers) do
    if is_forged(name) then
      ngx.req.clear_header(name)
      headers[name] = nil
    end
  end
  return setmetatable(headers, nil)
end

--- Sets Connection and Upgrade for the next hop, which are empty at first. `headers`: what drop_forged has returned; `reuse`:
--- the connection may serve others afterwards.
function M.set_connection(headers, reuse)
  local var = ngx.var
  local upgrade = headers.upgrade and var.http_upgrade
  local wanted = upgrade and (var.http_connection or ''):lower():find('upgrade', 1, true)
  -- h2c would smuggle requests past everything that is checked here; who asks for it gets HTTP/1.1, as the RFC allows.
  if wanted and not upgrade:lower():find('h2c', 1, true) then
    var.culvert_connection = 'upgrade'
    var.culvert_upgrade = upgrade
  elseif not reuse then
    var.culvert_connection = 'close'
  end
end

return M
