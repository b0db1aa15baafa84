-- One timer a worker that listens for `route.changed` and drops what is cached about that host (its certificate
-- included) or, where it names a collection and an id, about that record; `lease` is the names of a device. Without it a
-- change shows after ROUTE_AGE_MS; with it at once.

local access = require('culvert.access')
local certificate = require('culvert.certificate')
local paces = require('culvert.paces')
local redis = require('culvert.redis')
local routes = require('culvert.routes')

local CHANNEL = 'route.changed'
local READ_MS = 1000
local PING_AFTER = 5 -- silent reads
local LIFE_S = 300 -- memory of a timer is only given back when it ends
local BACKOFF_S = { 0.1, 0.2, 0.5, 1, 2 }

local M = {}
local listen

local function again(delay, failures)
  local ok, err = ngx.timer.at(delay, listen, failures)
  if not ok and err ~= 'process exiting' then ngx.log(ngx.ERR, 'cannot start the timer of ', CHANNEL, ': ', err) end
end

local function handle(reply)
  if type(reply) ~= 'table' or reply[1] ~= 'message' then return end
  local changed = reply[3]
  local collection, id = changed:match('^(%S+) (.+)$')
  if collection == 'lease' then return routes.drop(changed) end
  if collection == 'policy' then return paces.drop(changed) end
  if collection and collection ~= 'domain' then return access.drop(changed) end
  routes.drop(id or changed)
  certificate.drop(id or changed)
end

local function place()
  local host, port = redis.where()
  return host and host .. ' ' .. port
end

--- Reads until the worker ends, the life of the timer is over, another Redis is the primary (true) or the connection breaks
--- (nil and why).
local function read_all(red, from)
  local until_s, silent = ngx.now() + LIFE_S, 0
  red:set_timeout(READ_MS)
  while not ngx.worker.exiting() and ngx.now() < until_s do
    local reply, err = red:read_reply()
    if reply then
      silent = 0
      handle(reply)
    elseif err ~= 'timeout' then
      return nil, err
    else
      silent = silent + 1
      if silent == PING_AFTER then
        -- The answer is the pong or a message that came first; either shows that the connection lives.
        reply, err = red:ping()
        if not reply then return nil, err end
        handle(reply)
        silent = 0
      end
    end
    if from and place() ~= from then return true end
  end
  return true
end

local function subscribe()
  local from = place()
  local red, err = redis.connect()
  if not red then return nil, err end
  local ok
  ok, err = red:subscribe(CHANNEL)
  if ok then
    redis.mark(false)
    ok, err = read_all(red, from)
  end
  red:close()
  return ok, err
end

function listen(premature, failures)
  if premature or ngx.worker.exiting() then return end
  local started = ngx.now()
  local ok, err = subscribe()
  if ngx.worker.exiting() then return end
  if ok then return again(0, 0) end
  if ngx.now() - started > 2 then failures = 0 end
  if failures == 0 then ngx.log(ngx.WARN, CHANNEL, ' is not heard, changes show after the age of a route: ', err) end
  again(BACKOFF_S[math.min(failures + 1, #BACKOFF_S)], failures + 1)
end

function M.start() again(0, 0) end

return M
