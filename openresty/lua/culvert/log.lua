-- The log phase: what is kept of a request that has ended. Each variable is read once here; a request of a visitor costs no
-- lock, no search and no string that was made before.

local device = require('culvert.device')
local metrics = require('culvert.metrics')
local report = require('culvert.report')
local tracing = require('culvert.tracing')

local M = {}
-- One for all requests: nobody keeps it.
local ended = {}

function M.finish()
  local var, ctx = ngx.var, ngx.ctx
  -- Of those that were sent on to a device it is at hand; the others are not so many.
  local sent_on = ctx.device ~= nil
  ended.host = sent_on and ctx.host or var.culvert_host
  ended.path = sent_on and ctx.path or var.culvert_path
  ended.device = sent_on and ctx.device or var.culvert_device
  ended.outcome = var.culvert_ended
  ended.status = ngx.status
  ended.seconds = ngx.now() - ngx.req.start_time()
  ended.bytes_in = tonumber(var.request_length) or 0
  ended.bytes_out = tonumber(var.bytes_sent) or 0
  metrics.count(ended, var)
  if ended.host == '' then return device.log(ended) end
  -- A flood must not push those who were served out of what is shown.
  if ended.outcome ~= 'rate_limited' then report.add(ended, var) end
  tracing.finish(ended, var)
end

return M
