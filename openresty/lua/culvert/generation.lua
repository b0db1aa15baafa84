-- The workers of one start or one reload are a generation. What devices open through them is cut when they end, at the latest
-- WIND_DOWN_MS after the next reload: so they tell the services that it ends, and those have it replaced before.

local clock = require('culvert.clock')
local redis = require('culvert.redis')
local settings = require('culvert.settings')

local KEY = 'edge:retired'
local HEADER = 'Culvert-Edge'
-- A timer ends early when its worker begins to end; until then it does nothing.
local SLEEP_S = 86400
local TRIES = 10
local TRY_AGAIN_S = 0.5

local M = {}

--- A name that no other generation of any edge has. Of the system's random numbers: those of Lua are the same in each reload.
function M.new()
  local file = assert(io.open('/dev/urandom', 'rb'))
  local bytes = file:read(8)
  file:close()
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

--- Says on a device's request through whom it comes.
function M.mark() ngx.req.set_header(HEADER, settings.generation) end

--- Told for twice the time that former workers have: clocks differ, and services look only now and then. What Redis refuses is no
--- sign that it is away.
local function tell(red)
  local now, kept_ms = clock.now_ms(), settings.wind_down_ms * 2
  red:init_pipeline()
  red:zremrangebyscore(KEY, '-inf', now)
  red:zadd(KEY, now + kept_ms, settings.generation)
  red:pexpire(KEY, kept_ms)
  local replies, err = red:commit_pipeline()
  if not replies then return nil, err end
  for _, reply in ipairs(replies) do
    if type(reply) == 'table' and reply[1] == false then return reply[2] end
  end
  return 'told'
end

local function retire()
  local answer, err
  for _ = 1, TRIES do
    answer, err = redis.run(tell)
    if answer then break end
    ngx.sleep(TRY_AGAIN_S)
  end
  if answer ~= 'told' then
    ngx.log(ngx.WARN, 'devices are not asked to leave these workers, and will be cut: ', answer or err)
  end
end

local function wait(premature)
  if premature then return retire() end
  local ok, err = ngx.timer.at(SLEEP_S, wait)
  if not ok and err == 'process exiting' then return retire() end
  if not ok then ngx.log(ngx.ERR, 'nobody will be told when these workers end: ', err) end
end

function M.start() wait(false) end

return M
