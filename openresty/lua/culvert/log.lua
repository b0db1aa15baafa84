-- The log phase: what is kept of a request that has ended. Each variable is read once here; a request of a visitor costs no
-- lock, no search and no string that was made before.

local device = require('culvert.device')
local metrics = require('culvert.metrics')
local report = require('culvert.report')
local tracing = require('culvert.tracing')

local M = {}

function M.finish()
  local var = ngx.var
  local ended = {
    host = var.culvert_host,
    path = var.culvert_path,
    outcome = var.culvert_ended,
    status = ngx.status,
    seconds = ngx.now() - ngx.req.start_time(),
    bytes_in = tonumber(var.request_length) or 0,
    bytes_out = tonumber(var.bytes_sent) or 0,
  }
  metrics.count(ended, var)
  if ended.host == '' then return device.log(ended) end
  -- A flood must not push those who were served out of what is shown.
  if ended.outcome ~= 'rate_limited' then report.add(ended, var) end
  tracing.finish(ended, var)
end

return M
