-- What visitors asked for, told in batches for live views: the newest of each device in a list, and all of them to whoever
-- listens. At most once, bounded: a worker keeps `reports` requests between two batches, what comes beyond is counted only.

local json = require('culvert.json')
local memo = require('culvert.memo')
local metrics = require('culvert.metrics')
local redis = require('culvert.redis')
local settings = require('culvert.settings')

local CHANNEL = 'visitor.requests'
local EVERY_S = 0.5
local PATH_BYTES = 256

local M = {}
local waiting, dropped = {}, 0

-- The same few hosts, devices, addresses and methods come again and again, and so do most paths.
local quote, quote_path = memo.of(json.quote, 1000), memo.of(json.quote, 1000)

--- Notes the request that has just ended. `ended` as in log.lua.
function M.add(ended, var)
  local device = ended.device
  if not device or device == '' then return end
  local n = #waiting
  if n >= settings.reports then
    dropped = dropped + 1
    metrics.dropped(1)
    return
  end
  waiting[n + 1] = {
    device,
    '{"id":"' .. var.request_id .. '","at":' .. math.floor(ngx.now() * 1000)
      .. ',"device":' .. quote(device) .. ',"host":' .. quote(ended.host) .. ',"remote":' .. quote(var.remote_addr)
      .. ',"method":' .. quote((var.request_method or ''):sub(1, 32)) .. ',"path":' .. quote_path(ended.path:sub(1, PATH_BYTES))
      .. ',"status":' .. ended.status .. ',"outcome":' .. quote(ended.outcome) .. ',"ms":' .. math.floor(ended.seconds * 1000)
      .. ',"bytes_in":' .. ended.bytes_in .. ',"bytes_out":' .. ended.bytes_out .. '}',
  }
end

local function push(red, batch, lost)
  local by_device, all = {}, {}
  for i, entry in ipairs(batch) do
    local list = by_device[entry[1]]
    if not list then
      list = {}
      by_device[entry[1]] = list
    end
    list[#list + 1] = entry[2]
    all[i] = entry[2]
  end
  red:init_pipeline()
  for device, list in pairs(by_device) do
    local key = 'visitors:' .. device
    red:lpush(key, unpack(list))
    red:ltrim(key, 0, settings.visitors_kept - 1)
    red:pexpire(key, settings.visitors_kept_ms)
  end
  red:publish(CHANNEL, '{"dropped":' .. lost .. ',"requests":[' .. table.concat(all, ',') .. ']}')
  return red:commit_pipeline()
end

local function flush()
  if #waiting == 0 and dropped == 0 then return end
  local batch, lost = waiting, dropped
  waiting, dropped = {}, 0
  local ok = redis.run(function(red) return push(red, batch, lost) end)
  if not ok then
    dropped = dropped + lost + #batch
    metrics.dropped(#batch)
  end
end

function M.start()
  local ok, err = ngx.timer.every(EVERY_S, flush)
  if not ok then ngx.log(ngx.ERR, 'requests of visitors are not reported: ', err) end
end

return M
