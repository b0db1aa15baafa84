-- /metrics: what this edge has served, counted by each worker in its own memory and added to shared memory every second, so
-- that a request costs no lock. Labels come from closed lists; what is in none of them is counted as `other`.

local certificate = require('culvert.certificate')
local redis = require('culvert.redis')
local texts = require('culvert.texts')

local EVERY_S = 1
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300 }
local DICTS = { 'routes', 'misses', 'instances', 'certificates', 'access', 'rates', 'paces', 'state', 'metrics' }
local KINDS = { ['/v1/control'] = 'control', ['/v1/enroll'] = 'enroll', ['/v1/access'] = 'access' }
-- Beside the outcomes that have a page: endings, and refusals of devices.
local OUTCOMES = { ok = true, visitor_gone = true, unauthorized = true, forbidden = true }

local HELP = {
  culvert_edge_requests_total = { 'counter', 'Requests that ended, by kind, class of status and outcome' },
  culvert_edge_bytes_total = { 'counter', 'Bytes from (in) and to (out) clients, heads included' },
  culvert_edge_retries_total = { 'counter', 'Further attempts to reach a listener or an ingress' },
  culvert_edge_reports_dropped_total = { 'counter', 'Requests that live views were told of as a number only' },
  culvert_edge_request_seconds = { 'histogram', 'Of requests of visitors, from the head to the last byte' },
  culvert_edge_first_byte_seconds = { 'histogram', 'Of requests of visitors, until the device began to answer' },
  culvert_edge_connect_seconds = { 'histogram', 'Of requests of visitors, until the listener was connected' },
}

local M = {}
local pending = {}

local function add(series, value) pending[series] = (pending[series] or 0) + value end

-- Names that were made before: {[kind] = {[class] = {[outcome] = name}}}. All three are closed lists.
local names = {}

local function requests_series(kind, class, outcome)
  local of_kind = names[kind]
  if not of_kind then
    of_kind = {}
    names[kind] = of_kind
  end
  local of_class = of_kind[class]
  if not of_class then
    of_class = {}
    of_kind[class] = of_class
  end
  local name = of_class[outcome]
  if not name then
    name = ('culvert_edge_requests_total{kind="%s",status="%dxx",outcome="%s"}'):format(kind, class, outcome)
    of_class[outcome] = name
  end
  return name
end

--- What has not been added to shared memory of a histogram yet; the last count is of what is beyond all bounds.
local function histogram_of(name)
  local counts = {}
  for i = 1, #BUCKETS + 1 do counts[i] = 0 end
  return { name = name, counts = counts, sum = 0 }
end

local REQUEST = histogram_of('culvert_edge_request_seconds')
local FIRST_BYTE = histogram_of('culvert_edge_first_byte_seconds')
local CONNECT = histogram_of('culvert_edge_connect_seconds')
local BYTES_IN, BYTES_OUT = 'culvert_edge_bytes_total{direction="in"}', 'culvert_edge_bytes_total{direction="out"}'

local function bucket_of(value)
  for i, bound in ipairs(BUCKETS) do
    if value <= bound then return i end
  end
  return #BUCKETS + 1
end

local function observe(histogram, value)
  if not value then return end
  local counts, i = histogram.counts, 1
  if value > BUCKETS[1] then i = bucket_of(value) end
  counts[i] = counts[i] + 1
  histogram.sum = histogram.sum + value
end

local function flush_histogram(histogram)
  local total = 0
  for i, count in ipairs(histogram.counts) do
    if count > 0 and BUCKETS[i] then add(histogram.name .. '_bucket{le="' .. BUCKETS[i] .. '"}', count) end
    total, histogram.counts[i] = total + count, 0
  end
  if total == 0 then return end
  add(histogram.name .. '_sum', histogram.sum)
  add(histogram.name .. '_count', total)
  histogram.sum = 0
end

local function kind_of(ended)
  if ended.host ~= '' then return 'visitor' end
  local path = ended.path
  return KINDS[path] or path:match('^/v1/(transfer)/') or path:match('^/v1/(access)/') or 'other'
end

--- Several attempts have a time each: `0.001, 0.002`; the last one counts.
local function last_time(text) return tonumber(text) or tonumber((text or ''):match('([%d.]+)%s*$')) end

--- Counts the request that has just ended. `ended` as in log.lua.
function M.count(ended, var)
  local kind, outcome = kind_of(ended), ended.outcome
  if not OUTCOMES[outcome] and not texts[outcome] then outcome = 'other' end
  add(requests_series(kind, math.floor(ended.status / 100), outcome), 1)
  add(BYTES_IN, ended.bytes_in)
  add(BYTES_OUT, ended.bytes_out)
  if kind ~= 'visitor' then return end
  observe(REQUEST, ended.seconds)
  observe(FIRST_BYTE, last_time(var.upstream_header_time))
  observe(CONNECT, last_time(var.upstream_connect_time))
end

--- Counts one more attempt to reach a listener or an ingress.
function M.tried_again() add('culvert_edge_retries_total', 1) end

--- Counts requests that live views were not told of one by one.
function M.dropped(count) add('culvert_edge_reports_dropped_total', count) end

local function flush()
  for _, one in ipairs({ REQUEST, FIRST_BYTE, CONNECT }) do flush_histogram(one) end
  local batch = pending
  pending = {}
  for series, value in pairs(batch) do
    local _, err = ngx.shared.culvert_metrics:incr(series, value, 0)
    if err then ngx.log(ngx.WARN, 'cannot count ', series, ': ', err) end
  end
end

function M.start()
  -- Named series are there before the first of them is counted: a rate needs a zero to start from.
  for _, series in ipairs({ 'culvert_edge_retries_total', 'culvert_edge_reports_dropped_total' }) do add(series, 0) end
  add(BYTES_IN, 0)
  add(BYTES_OUT, 0)
  local ok, err = ngx.timer.every(EVERY_S, flush)
  if not ok then ngx.log(ngx.ERR, 'nothing is counted: ', err) end
end

local function header(lines, name, kind, help)
  lines[#lines + 1] = '# HELP ' .. name .. ' ' .. help
  lines[#lines + 1] = '# TYPE ' .. name .. ' ' .. kind
end

local function gauge(lines, name, help, values)
  header(lines, name, 'gauge', help)
  for _, value in ipairs(values) do lines[#lines + 1] = name .. value[1] .. ' ' .. value[2] end
end

local function counters(lines, name)
  local known = ngx.shared.culvert_metrics
  for _, key in ipairs(known:get_keys(0)) do
    if key == name or key:find(name .. '{', 1, true) == 1 then lines[#lines + 1] = key .. ' ' .. known:get(key) end
  end
end

local function histogram(lines, name)
  local known = ngx.shared.culvert_metrics
  local sum = 0
  for _, bound in ipairs(BUCKETS) do
    sum = sum + (known:get(name .. '_bucket{le="' .. bound .. '"}') or 0)
    lines[#lines + 1] = name .. '_bucket{le="' .. bound .. '"} ' .. sum
  end
  local count = known:get(name .. '_count') or 0
  lines[#lines + 1] = name .. '_bucket{le="+Inf"} ' .. count
  lines[#lines + 1] = name .. '_sum ' .. (known:get(name .. '_sum') or 0)
  lines[#lines + 1] = name .. '_count ' .. count
end

--- nginx's own numbers, where it was built with stub_status (Debian's and OpenResty's are).
local function connections(lines)
  local var, values = ngx.var, {}
  for _, state in ipairs({ 'active', 'reading', 'writing', 'waiting' }) do
    local number = var['connections_' .. state]
    if number then values[#values + 1] = { '{state="' .. state .. '"}', number } end
  end
  gauge(lines, 'culvert_edge_connections', 'Connections of clients by state', values)
end

local function fill(lines)
  local values = {}
  for _, name in ipairs(DICTS) do
    local dict = ngx.shared['culvert_' .. name]
    values[#values + 1] = { '{resource="' .. name .. '"}', 1 - dict:free_space() / dict:capacity() }
  end
  -- free_space() counts whole free pages: caches stay near 1 once they have been full.
  gauge(lines, 'culvert_edge_memory_fill_ratio', 'How full the shared memory of the edge is, from 0 to 1', values)
end

local function certificate_ends(lines)
  local ends, source = certificate.ends()
  local values = ends and { { '{use="edge",source="' .. source .. '"}', ends } } or {}
  local help = 'When the certificate that is served ends, in seconds since 1970, by who is shown it'
  gauge(lines, 'culvert_certificate_expires_timestamp_seconds', help, values)
end

--- The content of /metrics.
function M.report()
  flush()
  local lines = {}
  for name, about in pairs(HELP) do
    header(lines, name, about[1], about[2])
    if about[1] == 'counter' then counters(lines, name) else histogram(lines, name) end
  end
  connections(lines)
  fill(lines)
  certificate_ends(lines)
  gauge(lines, 'culvert_edge_store_up', '1 while Redis answers this edge', { { '', redis.is_away() and 0 or 1 } })
  ngx.header['Content-Type'] = 'text/plain; version=0.0.4; charset=utf-8'
  ngx.print(table.concat(lines, '\n'), '\n')
end

return M
