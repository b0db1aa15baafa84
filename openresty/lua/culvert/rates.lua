-- How often one address may do what only a mistake or an attack does often. Counted in shared memory of a fixed size, per
-- minute; when it is full the addresses that were quiet longest are forgotten.

local settings = require('culvert.settings')

local WINDOW_S = 60

local M = {}

--- An IPv4 address, or the /64 of an IPv6 one, as every customer has one of those.
local function customer(address) return #address == 16 and address:sub(1, 8) or address end

--- The peer at hand, where there is a request.
function M.peer() return customer(ngx.var.binary_remote_addr) end

--- Counts one more of `kind`: `unknown_names` or `failed_handshakes`.
function M.count(kind)
  local _, err = ngx.shared.culvert_rates:incr(kind .. M.peer(), 1, 0, WINDOW_S)
  if err then ngx.log(ngx.WARN, 'cannot count ', kind, ': ', err) end
end

--- Has the peer at hand done more of it than it may? Then also in how many seconds it may go on.
function M.exceeded(kind)
  local key = kind .. M.peer()
  if (ngx.shared.culvert_rates:get(key) or 0) < settings[kind] then return false end
  return true, math.max(1, math.ceil(ngx.shared.culvert_rates:ttl(key) or WINDOW_S))
end

--- Counts one more of `kind` for this binary address. Is it more than it may do?
function M.takes_too_many(kind, address)
  local done, err = ngx.shared.culvert_rates:incr(kind .. customer(address), 1, 0, WINDOW_S)
  if not done then
    ngx.log(ngx.WARN, 'cannot count ', kind, ': ', err)
    return false
  end
  return done > settings[kind]
end

return M
