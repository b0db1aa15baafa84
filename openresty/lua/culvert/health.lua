-- /healthz: the edge lives as long as it answers; what it says about Redis is for operators, not for restarts.

local json = require('culvert.json')
local redis = require('culvert.redis')

local M = {}

function M.report()
  local pong = redis.run(function(red) return red:ping() end)
  ngx.header['Content-Type'] = 'application/json'
  ngx.print(json.object({
    { 'status', 'ok' },
    { 'service', 'edge' },
    { 'redis', pong and 'up' or 'away' },
  }), '\n')
end

return M
