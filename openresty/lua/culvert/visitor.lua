-- One visitor's request, from its Host header to the device that it is sent to.
--
--   serve --route held--> device --answer--> (answer.lua)
--     |                     \--refused, nothing sent--> again --route held--> device ...
--     \--no route, offline, nobody knows--> page          \--time over, something sent--> page

local access = require('culvert.access')
local forward = require('culvert.forward')
local host = require('culvert.host')
local json = require('culvert.json')
local memo = require('culvert.memo')
local metrics = require('culvert.metrics')
local paces = require('culvert.paces')
local pages = require('culvert.pages')
local peer = require('culvert.peer')
local plain = require('culvert.plain')
local rates = require('culvert.rates')
local routes = require('culvert.routes')
local settings = require('culvert.settings')
local tracing = require('culvert.tracing')

-- Shares of EDGE_RETRY_MS to wait before each new attempt. Eight, because nginx allows ten redirects within a request.
local WAITS = { 0.01, 0.02, 0.04, 0.08, 0.15, 0.2, 0.25, 0.25 }
-- A body up to this size is read first, so that the request can be sent again; client_body_buffer_size is the same.
local REPLAYABLE_BYTES = 16384
local BODILESS = { GET = true, HEAD = true }
-- Methods that must not be sent twice; nginx, too, does not repeat these three once they were sent.
local ONCE = { POST = true, PATCH = true, LOCK = true }

local M = {}

local asks_for_events = memo.of(function(accept) return accept:find('text/event-stream', 1, true) ~= nil end, 1000)

--- Event streams and upgraded connections are silent for long by their nature; a page is not.
local function may_be_silent(headers)
  local accept = headers.accept
  return headers.upgrade or accept and asks_for_events(accept)
end

--- nginx.conf sets what most requests need: only what is otherwise is set here.
local function pass(route, name, uri, headers)
  local var = ngx.var
  -- A connection that idles may be closing just now. What may not be sent twice must not find out.
  -- A traced request has a connection of its own: the listener reads the trace at its beginning.
  local reuse = route.keepalive == '1' and not ONCE[ngx.req.get_method()] and not tracing.is_on()
  if route.scheme ~= 'http' then var.culvert_scheme = route.scheme end
  if not reuse then var.culvert_pool = 'culvert_fresh' end
  forward.set_connection(headers, reuse)
  peer.choose({
    peers = route.peers,
    tried = 0,
    silent_s = may_be_silent(headers) and settings.stream_ms / 1000 or nil,
    host = name,
    path = uri,
    device = route.device,
  })
end

--- The route of a host, as routes.find has it; false and `rate_limited` for who asks for too many names that nobody has.
local function find_route(name, anew)
  if not anew then
    local route = routes.fresh(name)
    if route then return route end
    if rates.exceeded('unknown_names') and not routes.is_known(name) then return false, 'rate_limited' end
  end
  return routes.find(name, anew)
end

--- Passes the request on by the route of its host, or ends it with a page.
local function dispatch(name, uri, headers, anew)
  if not anew and paces.address_is_too_fast() then return paces.turn_away(name) end
  local route, err = find_route(name, anew)
  if route then ngx.var.culvert_device = route.device end
  if route == nil then
    -- That Redis is away was logged when it went.
    ngx.log(err == 'away' and ngx.INFO or ngx.WARN, 'no route for ', name, ' is known: ', err)
    return pages.send('unavailable', { host = name })
  end
  if err == 'rate_limited' then return paces.turn_away() end
  if not route then
    rates.count('unknown_names')
    return pages.send('not_found', { host = name })
  end
  if not anew and paces.device_is_too_fast(route.device) then return paces.turn_away(name) end
  -- An attempt after the first one has passed it, and its cookies are gone.
  if not anew and not access.check(name, route.device, route.port, uri, headers.cookie ~= nil) then return end
  if route.state == 'grace' then
    return pages.send('device_offline', { since = route.since, host = name })
  end
  return pass(route, name, uri, headers)
end

--- A body is `none`, `held` (in memory, may be sent again) or `streamed`.
local function take_small_body(headers)
  if headers['transfer-encoding'] then return 'streamed' end
  local given = headers['content-length']
  local length = tonumber(given or 0)
  -- HTTP/2 needs no length to have a body.
  if not given and not BODILESS[ngx.req.get_method()] and ngx.req.http_version() >= 2 then return 'streamed' end
  if length == 0 then return 'none' end
  if not length or length > REPLAYABLE_BYTES then return 'streamed' end
  ngx.req.read_body()
  return 'held'
end

--- The access phase of a visitor's request; nginx.conf has set its path, and its host as it is when it is a good one.
function M.serve()
  local var = ngx.var
  local uri = var.uri
  local kind, name = host.of_request()
  if not kind or kind == 'ip' then
    var.culvert_host = kind and name or ''
    return pages.send(kind and 'not_found' or 'bad_request', { detail = not kind and 'To be exact: ' .. name .. '.' or nil })
  end
  if plain.turns_visitors_away() then return plain.send_on(name) end
  if kind == 'apex' then return pages.send(uri == '/' and 'welcome' or 'not_found', { host = name }) end
  local headers = forward.drop_forged()
  tracing.begin()
  dispatch(name, uri, headers, false)
  local body = take_small_body(headers)
  if body ~= 'none' then var.culvert_replayable = body end
end

--- The content of /.culvert/route: what this edge knows of the way to its host, as a visitor's request would find it. Of a
--- private device it is not said in which state it is.
function M.route()
  local kind, name = host.of_request()
  if not kind or kind == 'ip' or kind == 'apex' then return pages.send('not_found') end
  if paces.address_is_too_fast() then return paces.turn_away(name) end
  if rates.exceeded('unknown_names') and not routes.is_known(name) then return paces.turn_away() end
  local found, why
  local route, err = routes.find(name, false)
  if route == nil then
    found, why = 'away', err
  elseif not route then
    rates.count('unknown_names')
    found = 'none'
  else
    local private = access.is_private(route.device, route.port)
    if private == nil then found = 'away' elseif private then found = 'private' else found = route.state end
  end
  ngx.header['Content-Type'] = 'application/json'
  ngx.header['Cache-Control'] = 'no-store'
  ngx.print(json.object({ { 'host', name }, { 'route', found }, { 'detail', why } }), '\n')
end

--- Whether the last attempt sent any of the request. Those before it do not count: nginx goes on to another attempt only with
--- what may be sent twice, when a connection that had idled turned out to be closed.
local function sent_anything()
  local bytes = (ngx.var.upstream_bytes_sent or ''):match('(%d+)%s*$')
  return bytes ~= nil and tonumber(bytes) > 0
end

--- The access phase after nginx could not get an answer (502, 504).
function M.again()
  local var = ngx.var
  local name = var.culvert_host
  if sent_anything() then
    local timed_out = (var.upstream_status or ''):find('504%s*$') ~= nil
    return pages.send(timed_out and 'local_timeout' or 'peer_reset', { host = name })
  end
  local attempt = tonumber(var.culvert_attempts) + 1
  if var.culvert_replayable == 'streamed' or attempt > #WAITS then return pages.send('unavailable', { host = name }) end
  var.culvert_attempts = attempt
  metrics.tried_again()
  ngx.sleep(WAITS[attempt] * settings.retry_ms / 1000)
  -- As at the beginning: the route may be another one by now.
  var.culvert_scheme, var.culvert_pool, var.culvert_connection, var.culvert_upgrade = 'http', 'culvert_kept', '', ''
  return dispatch(name, var.culvert_path, forward.drop_forged(), true)
end

--- The content of what comes without TLS to the port of TLS.
function M.unencrypted()
  local kind, name = host.of_request()
  if not kind or kind == 'ip' or settings.tls_port == nil then
    return pages.send('bad_request', { detail = 'To be exact: this port speaks TLS; the address begins with https.' })
  end
  return plain.send_on(name)
end

--- The content of requests that nginx itself refuses or that failed inside.
function M.fault()
  if ngx.status == 429 then return pages.send('rate_limited') end
  if ngx.status >= 500 and ngx.status ~= 501 and ngx.status ~= 505 then return pages.send('internal') end
  return pages.send('bad_request')
end

return M
