-- Where the request at hand is sent. Access phases choose (they may ask Redis), the balancer phase only obeys.

local balancer = require('ngx.balancer')

local FAILED_S = 5

local M = {}

--- `127.0.0.1:80` or `[::1]:80` to {host, port}; nil for anything else: names would need a resolver.
function M.parse(address)
  local host, port = (address or ''):match('^([%d.]+):(%d+)$')
  if not host then host, port = (address or ''):match('^(%[[%x:.]+%]):(%d+)$') end
  port = tonumber(port)
  if not host or not port or port < 1 or port > 65535 then return nil end
  return { host = host, port = port, address = address }
end

--- Makes `choice` what is known of the request from here on (ngx.ctx): `peers`, to be tried in this order, `tried` (0) of them so
--- far, `silent_s`, how long they may be silent (without it the location's time), and what the log phase need not ask nginx for.
function M.choose(choice) ngx.ctx = choice end

--- When this peer last refused a connection, as a time that orders; 0 when it did not of late.
function M.failed_at(address) return ngx.shared.culvert_state:get('failed:' .. address) or 0 end

function M.balance()
  local ctx = ngx.ctx
  local peers = ctx.peers
  local n = ctx.tried
  if n == 0 then
    if #peers > 1 then balancer.set_more_tries(#peers - 1) end
  else
    ngx.shared.culvert_state:set('failed:' .. peers[math.min(n, #peers)].address, ngx.now(), FAILED_S)
  end
  ctx.tried = n + 1
  local peer = peers[math.min(n + 1, #peers)]
  local ok, err = balancer.set_current_peer(peer.host, peer.port)
  if not ok then
    ngx.log(ngx.ERR, 'cannot send to ', peer.address, ': ', err)
    return ngx.exit(500)
  end
  if ctx.silent_s then balancer.set_timeouts(nil, nil, ctx.silent_s) end
end

return M
