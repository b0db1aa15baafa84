-- Devices' requests: control connections to a live ingress, transfers to the listener that asked for them.

local forward = require('culvert.forward')
local generation = require('culvert.generation')
local host = require('culvert.host')
local instances = require('culvert.instances')
local json = require('culvert.json')
local metrics = require('culvert.metrics')
local peer = require('culvert.peer')
local plain = require('culvert.plain')
local rates = require('culvert.rates')
local settings = require('culvert.settings')

local MOST_TRIES = 4
-- Shares of EDGE_RETRY_MS to wait before each new attempt. Eight, because nginx allows ten redirects within a request.
local WAITS = { 0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.2, 0.2 }
-- Devices of one worker that wait at once; more are sent away, as ingresses would do.
local MOST_WAITING = 256
local waiting = 0

-- Refusals that trying again does not change.
local REFUSED = { [400] = true, [401] = true, [403] = true, [404] = true }

local M = {}

local function refuse(status, code, message, retry_after)
  ngx.var.culvert_outcome = code
  ngx.status = status
  if status == 503 then retry_after = math.random(2, 5) end
  local body = json.object({ { 'code', code }, { 'message', message } }) .. '\n'
  ngx.header['Content-Type'] = 'application/json'
  ngx.header['Content-Length'] = #body
  ngx.header['Cache-Control'] = 'no-store'
  ngx.header['Retry-After'] = retry_after
  ngx.req.discard_body()
  ngx.print(body)
  return ngx.exit(ngx.HTTP_OK)
end

--- Under a name of the wildcard domain every path is the device's own page.
local function is_visitor() return (host.classify(ngx.var.http_host)) == 'device' end

local function refuse_plain()
  local port = settings.tls_port == 443 and '' or ':' .. settings.tls_port
  return refuse(403, 'forbidden', 'Devices come by TLS here: use https://' .. settings.domain .. port
    .. ', and replace this token, which has just crossed the network unprotected.')
end

--- Answers who must not go on, and never returns then: without TLS where that is wanted, or refused too often of late.
local function turn_away()
  if plain.turns_devices_away() then return refuse_plain() end
  local exceeded, wait_s = rates.exceeded('failed_handshakes')
  if exceeded then
    return refuse(429, 'rate_limited', 'Too many handshakes from this address were refused; see to them, and wait.', wait_s)
  end
end

local function pass(peers)
  forward.set_connection(forward.drop_forged(), false)
  generation.mark()
  peer.choose({ peers = peers, tried = 0 })
end

local function pass_to_any(peers)
  while #peers > MOST_TRIES do peers[#peers] = nil end
  return pass(peers)
end

--- The access phase of /v1/control and /v1/enroll.
function M.control()
  if is_visitor() then return ngx.exec('@visitor') end
  ngx.var.culvert_path = ngx.var.uri -- without the query
  turn_away()
  local peers, err = instances.ingresses()
  if not peers then
    ngx.log(err == 'away' and ngx.INFO or ngx.WARN, 'no ingress is known: ', err)
    return M.unavailable()
  end
  if #peers == 0 then return M.control_again() end
  return pass_to_any(peers)
end

--- While no ingress can be reached, most likely because the only one is being started again, devices wait for it a while: their
--- visitors are being held no longer than that.
function M.control_again()
  local var = ngx.var
  local attempt = tonumber(var.culvert_attempts)
  while attempt < #WAITS and waiting < MOST_WAITING do
    attempt = attempt + 1
    var.culvert_attempts = attempt
    metrics.tried_again()
    waiting = waiting + 1
    ngx.sleep(WAITS[attempt] * (0.75 + math.random() / 4) * settings.retry_ms / 1000)
    waiting = waiting - 1
    local peers = instances.ingresses(true)
    if not peers then break end
    if #peers > 0 then return pass_to_any(peers) end
  end
  return M.unavailable()
end

--- The id of the listener in the path of a transfer or of an operator's connection; nil when it names none.
local function listener_of(path)
  local rest = path:match('^/v1/transfer/(.*)$') or path:match('^/v1/access/(.*)$') or ''
  local id = rest:match('^([a-z0-9-]+)$') or rest:match('^([a-z0-9-]+)/')
  return id and #id <= 64 and id or nil
end

local function transfer(anew)
  local id = listener_of(ngx.var.uri)
  if not id then return refuse(404, 'not_found', 'The path names no listener.') end
  ngx.var.culvert_path = ngx.var.uri:match('^/v1/%a+/') .. id -- the rest is a secret while it lives
  local listener, err = instances.listener(id, anew)
  if listener == nil then
    ngx.log(err == 'away' and ngx.INFO or ngx.WARN, 'the address of ', id, ' is not known: ', err)
    return M.unavailable()
  end
  if not listener then return refuse(404, 'not_found', 'There is no such listener.') end
  return pass({ listener })
end

--- The access phase of /v1/access: all of the API that is reached by way of the edge.
function M.access()
  if is_visitor() then return ngx.exec('@visitor') end
  ngx.var.culvert_path = '/v1/access'
  turn_away()
  -- The API gets the path as it was sent, and might read another one in it than we did.
  if ngx.var.request_uri:match('^[^?]*') ~= '/v1/access' then return refuse(404, 'not_found', 'There is no such path.') end
  local method = ngx.req.get_method()
  if method ~= 'POST' and method ~= 'GET' then return refuse(400, 'bad_request', 'Expected GET, or POST with a body of JSON.') end
  local peers, err = instances.admins()
  if not peers then
    ngx.log(err == 'away' and ngx.INFO or ngx.WARN, 'no admin is known: ', err)
    return M.unavailable()
  end
  if #peers == 0 then return M.unavailable() end
  return pass_to_any(peers)
end

--- The access phase of /v1/transfer/<listener>[/<id>] and of /v1/access/<listener>/<ticket>.
function M.transfer()
  if is_visitor() then return ngx.exec('@visitor') end
  turn_away()
  return transfer(false)
end

--- The same once more after nobody answered there: a listener that was started again has another address than we know.
function M.transfer_again() return transfer(true) end

--- The log phase, of what is no visitor's: counts what was refused for good. `ended` as in log.lua.
function M.log(ended)
  if REFUSED[ended.status] and ended.path:find('^/v1/') then rates.count('failed_handshakes') end
end

--- No instance can be reached at present.
function M.unavailable()
  return refuse(503, 'unavailable', 'A service that is needed is away; try again after Retry-After.')
end

return M
