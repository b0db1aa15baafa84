-- /metrics: what this edge has served, counted by each worker in its own memory and added to shared memory every second, so
-- that a request costs no lock. Labels come from closed lists; what is in none of them is counted as `other`.

local redis = require('culvert.redis')
local texts = require('culvert.texts')

local EVERY_S = 1
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300 }
local DICTS = { 'routes', 'misses', 'instances', 'certificates', 'access', 'rates', 'state', 'metrics' }
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

local function observe(name, value)
  if not value then return end
  for _, bound in ipairs(BUCKETS) do
    if value <= bound then
      add(name .. '_bucket{le="' .. bound .. '"}', 1)
      break
    end
  end
  add(name .. '_sum', value)
  add(name .. '_count', 1)
end

local function kind_of(var)
  if var.culvert_host ~= '' then return 'visitor' end
  local path = var.culvert_path
  return KINDS[path] or path:match('^/v1/(transfer)/') or path:match('^/v1/(access)/') or 'other'
end

--- Several attempts have a time each: `0.001, 0.002`; the last one counts.
local function last_time(text) return tonumber((text or ''):match('([%d.]+)%s*$')) end

--- Counts the request that has just ended; in the log phase.
function M.count()
  local var = ngx.var
  local kind = kind_of(var)
  local outcome = var.culvert_ended
  if not OUTCOMES[outcome] and not texts[outcome] then outcome = 'other' end
  local class = math.floor((tonumber(var.status) or 0) / 100) .. 'xx'
  add('culvert_edge_requests_total{kind="' .. kind .. '",status="' .. class .. '",outcome="' .. outcome .. '"}', 1)
  add('culvert_edge_bytes_total{direction="in"}', tonumber(var.request_length) or 0)
  add('culvert_edge_bytes_total{direction="out"}', tonumber(var.bytes_sent) or 0)
  local attempts = tonumber(var.culvert_attempts) or 0
  if attempts > 0 then add('culvert_edge_retries_total', attempts) end
  if kind ~= 'visitor' then return end
  observe('culvert_edge_request_seconds', tonumber(var.request_time))
  observe('culvert_edge_first_byte_seconds', last_time(var.upstream_header_time))
  observe('culvert_edge_connect_seconds', last_time(var.upstream_connect_time))
end

--- Counts requests that live views were not told of one by one.
function M.dropped(count) add('culvert_edge_reports_dropped_total', count) end

local function flush()
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
  for _, direction in ipairs({ 'in', 'out' }) do add('culvert_edge_bytes_total{direction="' .. direction .. '"}', 0) end
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
  gauge(lines, 'culvert_edge_store_up', '1 while Redis answers this edge', { { '', redis.is_away() and 0 or 1 } })
  ngx.header['Content-Type'] = 'text/plain; version=0.0.4; charset=utf-8'
  ngx.print(table.concat(lines, '\n'), '\n')
end

return M
