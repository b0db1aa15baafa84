-- Spans of visitors' requests, sent to a collector by OTLP/HTTP in JSON, in batches; only with a collector in the settings.
-- A trace that the edge begins has the request's own number for its id, the one in the log and in Culvert-Visitor. At most
-- once, bounded: what a worker cannot keep between two batches is dropped.

local json = require('culvert.json')
local settings = require('culvert.settings')

local EVERY_S = 1
local MOST_WAITING = 1000
local SEND_MS = 3000

local M = {}
local waiting = {}

--- Are visitors' requests traced?
function M.is_on() return settings.otlp_host ~= nil end

--- Begins the request's span, or continues the visitor's trace, and tells the next hop of it.
function M.begin()
  if not settings.otlp_host then return end
  local var = ngx.var
  local id = var.request_id
  local trace, parent, flags = (var.http_traceparent or ''):match('^00%-(%x+)%-(%x+)%-(%x%x)$')
  if not trace or #trace ~= 32 or #parent ~= 16 then trace, parent, flags = id, '', '01' end
  var.culvert_trace = ('00-%s-%s-%s'):format(trace:lower(), id:sub(17), flags:lower())
  var.culvert_trace_parent = parent:lower()
  ngx.req.set_header('traceparent', var.culvert_trace)
end

local function attribute(key, value)
  if value == nil or value == '' then return nil end
  local typed = type(value) == 'number' and { 'intValue', tostring(value) } or { 'stringValue', value }
  return '{"key":"' .. key .. '","value":' .. json.object({ typed }) .. '}'
end

local function attributes(list)
  local out = {}
  for _, pair in ipairs(list) do out[#out + 1] = attribute(pair[1], pair[2]) end
  return '[' .. table.concat(out, ',') .. ']'
end

local function nanos(seconds) return ('%.0f000000'):format(seconds * 1000) end

--- Notes the span of a visitor's request that has just ended. `ended` as in log.lua.
function M.finish(ended, var)
  if not settings.otlp_host then return end
  local trace, span, flags = (var.culvert_trace or ''):match('^00%-(%x+)%-(%x+)%-(%x%x)$')
  if not trace or tonumber(flags, 16) % 2 == 0 or #waiting >= MOST_WAITING then return end
  local start = ngx.req.start_time()
  local fields = json.object({
    { 'traceId', trace },
    { 'spanId', span },
    { 'parentSpanId', var.culvert_trace_parent ~= '' and var.culvert_trace_parent or nil },
    { 'name', 'edge ' .. (var.request_method or ''):sub(1, 32) },
    { 'kind', 2 },
    { 'startTimeUnixNano', nanos(start) },
    { 'endTimeUnixNano', nanos(start + ended.seconds) },
  })
  local about = attributes({
    { 'culvert.visitor', var.request_id },
    { 'culvert.device', ended.device },
    { 'culvert.outcome', ended.outcome },
    { 'http.request.method', var.request_method },
    { 'http.response.status_code', ended.status },
    { 'server.address', ended.host },
    { 'url.path', ended.path:sub(1, 256) },
  })
  local status = ended.outcome == 'ok' and '{}' or '{"code":2}'
  waiting[#waiting + 1] = fields:sub(1, -2) .. ',"attributes":' .. about .. ',"status":' .. status .. '}'
end

local function post(body)
  local socket = ngx.socket.tcp()
  socket:settimeout(SEND_MS)
  local ok, err = socket:connect(settings.otlp_host, settings.otlp_port)
  if not ok then return nil, err end
  ok, err = socket:send({
    'POST ', settings.otlp_path, ' HTTP/1.1\r\nHost: ', settings.otlp_host, ':', settings.otlp_port,
    '\r\nContent-Type: application/json\r\nContent-Length: ', #body, '\r\nConnection: close\r\n\r\n', body,
  })
  local line
  if ok then
    line, err = socket:receive('*l')
  end
  socket:close()
  if not line then return nil, err end
  return line:find('^HTTP/1%.%d 2') ~= nil, line
end

local function flush()
  if #waiting == 0 then return end
  local batch = waiting
  waiting = {}
  local resource = attributes({ { 'service.name', 'edge' } })
  local ok, err = post('{"resourceSpans":[{"resource":{"attributes":' .. resource
    .. '},"scopeSpans":[{"scope":{"name":"culvert"},"spans":[' .. table.concat(batch, ',') .. ']}]}]}')
  if not ok then ngx.log(ngx.WARN, #batch, ' spans are lost: ', err) end
end

function M.start()
  if not settings.otlp_host then return end
  local ok, err = ngx.timer.every(EVERY_S, flush)
  if not ok then ngx.log(ngx.ERR, 'no traces are sent: ', err) end
end

return M
