-- The plain port of an edge that serves TLS: visitors are sent on, devices are told.

local settings = require('culvert.settings')

local M = {}

local function is_plain() return ngx.var.https ~= 'on' end

--- Must the request at hand, a visitor's, come by TLS? Its answer is then M.send_on().
function M.turns_visitors_away() return settings.tls_port ~= nil and settings.redirect and is_plain() end

--- The same for a device. Its token has crossed the network by then; the refusal says so.
function M.turns_devices_away() return settings.tls_port ~= nil and not settings.plain_devices and is_plain() end

--- Sends a visitor to the same address by TLS; method and body stay what they are. `name`: the normalised host.
function M.send_on(name)
  local port = settings.tls_port == 443 and '' or ':' .. settings.tls_port
  ngx.var.culvert_outcome = 'redirected'
  ngx.header['Cache-Control'] = 'no-store' -- the setting may change
  ngx.header['Content-Length'] = 0
  ngx.header['Location'] = 'https://' .. name .. port .. ngx.var.request_uri
  ngx.status = 308
  ngx.req.discard_body()
  ngx.send_headers()
  return ngx.exit(ngx.HTTP_OK)
end

return M
