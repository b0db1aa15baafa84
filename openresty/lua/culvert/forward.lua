-- What is the same for all requests that are passed on: forged headers go, upgrades stay.

local memo = require('culvert.memo')

local M = {}

local FORGED = { forwarded = true, ['x-real-ip'] = true }

local is_forged = memo.of(function(name)
  name = name:lower():gsub('_', '-') -- gateways of the CGI kind take both for the same
  return (FORGED[name] or name:find('^x%-forwarded%-') or name:find('^culvert%-')) ~= nil
end, 1000)

--- Drops what only the edge may say.
function M.drop_forged()
  for name in pairs(ngx.req.get_headers(0, true)) do
    if is_forged(name) then ngx.req.clear_header(name) end
  end
end

--- Sets Connection and Upgrade for the next hop. `reuse`: the connection may serve others afterwards.
function M.set_connection(reuse)
  local var = ngx.var
  local upgrade = var.http_upgrade
  local wanted = upgrade and (var.http_connection or ''):lower():find('upgrade', 1, true)
  -- h2c would smuggle requests past everything that is checked here; who asks for it gets HTTP/1.1, as the RFC allows.
  if wanted and not upgrade:lower():find('h2c', 1, true) then
    var.culvert_connection = 'upgrade'
    var.culvert_upgrade = upgrade
  else
    var.culvert_connection = reuse and '' or 'close'
    var.culvert_upgrade = ''
  end
end

return M
