-- Operators' data as lease-manager keeps it in Redis: `kept:<collection>:<id>`, a hash with the JSON and its end.

local json = require('culvert.json')
local redis = require('culvert.redis')

local M = {}

--- The value of the record `<collection> <id>` and when it goes; false when there is none; nil and why that is not known.
function M.read(key)
  local lost
  local reply, err = redis.run(function(red)
    local found, why = red:hmget('kept:' .. key:gsub(' ', ':', 1), 'value', 'expires_at')
    lost = found and found[1] == ngx.null and redis.has_lost_all(red)
    return found, why
  end)
  if not reply then return nil, err end
  if lost then return nil, 'recovering' end
  if reply[1] == ngx.null then return false end
  local value
  value, err = json.decode(reply[1])
  if type(value) ~= 'table' then return nil, err or key .. ' is no object' end
  return value, tonumber(reply[2] ~= ngx.null and reply[2] or nil)
end

return M
