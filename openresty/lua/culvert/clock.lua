-- Time, in one place. Epoch milliseconds, as in the store.

local M = {}

function M.now_ms() return math.floor(ngx.now() * 1000) end

--- 2026-11-22T16:29:27.123Z
function M.iso(ms)
  return os.date('!%Y-%m-%dT%H:%M:%S', math.floor(ms / 1000)) .. ('.%03dZ'):format(ms % 1000)
end

--- 22 November 2026, 16:29:27 UTC
function M.text(ms)
  return (os.date('!%d %B %Y, %H:%M:%S UTC', math.floor(ms / 1000)):gsub('^0', ''))
end

local units = { { 86400, 'day' }, { 3600, 'hour' }, { 60, 'minute' }, { 1, 'second' } }

--- `3 minutes`, in the largest unit that fits.
function M.duration(ms)
  local seconds = math.max(0, math.floor(ms / 1000))
  for _, unit in ipairs(units) do
    local n = math.floor(seconds / unit[1])
    if n > 0 then return n .. ' ' .. unit[2] .. (n == 1 and '' or 's') end
  end
  return 'less than a second'
end

return M
