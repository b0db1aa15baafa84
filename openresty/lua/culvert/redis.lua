-- Redis for the edge: pooled connections, a deadline on every reply, and a breaker, so that a Redis that is away costs
-- one request a second its deadline and all others nothing.

local sentinel = require('culvert.sentinel')
local settings = require('culvert.settings')

local ok, client = pcall(require, 'resty.redis') -- OpenResty
if not ok then client = require('nginx.redis') end -- Debian

local POOL_IDLE_MS = 30000
local POOL_SIZE = 32
local PROBE_EVERY_S = 1

local M = {}

local function state() return ngx.shared.culvert_state end

--- Host and port of the Redis to read; nil and why that is not known. Sentinels may name another one at any time.
function M.where()
  local at = settings.redis
  if not at.sentinels then return at.host, at.port end
  return sentinel.primary(client, at, settings.store_ms)
end

local function reach(host, port)
  local red, err = client:new()
  if not red then return nil, err end
  red:set_timeout(settings.store_ms)
  -- The pool's name tells connections of different users and databases apart.
  local pool = table.concat({ host, port, settings.redis.user or '', settings.redis.db }, ':')
  ok, err = red:connect(host, port, { pool = pool })
  if not ok then return nil, err end
  return red
end

--- A connection, authorised and on its database; nil and why not.
function M.connect()
  local at = settings.redis
  local host, port = M.where()
  if not host then return nil, port end
  local red, err = reach(host, port)
  if not red and at.sentinels then
    sentinel.doubt()
    local former = host .. ' ' .. port
    host, port = M.where()
    if host and host .. ' ' .. port ~= former then
      red, err = reach(host, port)
    end
  end
  if not red then return nil, err end
  local reused = (red:get_reused_times() or 0) > 0
  if not reused then
    if at.password then
      if at.user then
        ok, err = red:auth(at.user, at.password)
      else
        ok, err = red:auth(at.password)
      end
      if not ok then
        red:close()
        return nil, err
      end
    end
    if at.db ~= 0 then
      ok, err = red:select(at.db)
      if not ok then
        red:close()
        return nil, err
      end
    end
  end
  return red, reused
end

local function attempt(work)
  local red, reused = M.connect()
  if not red then return nil, reused, false end
  local value, err = work(red)
  if value == nil or value == false then
    red:close()
    return nil, err or 'no reply', reused
  end
  red:set_keepalive(POOL_IDLE_MS, POOL_SIZE)
  return value
end

--- Says whether Redis answered last time.
function M.is_away() return state():get('away') == true end

--- Marks Redis as answering or away; logs only when that changes.
function M.mark(away, reason)
  if away then
    -- add() tells who was first among the workers.
    if state():add('away', true) then ngx.log(ngx.WARN, 'redis is away, serving what is known: ', reason) end
  elseif M.is_away() then
    state():delete('away')
    ngx.log(ngx.NOTICE, 'redis answers again')
  end
end

--- Runs `work(connection)`, which returns a value, or nil/false and an error. Replies of Redis that are errors (loading,
--- no permission) count as no answer. Returns the value; nil and an error.
function M.run(work)
  if M.is_away() and not state():add('probe', true, PROBE_EVERY_S) then return nil, 'away' end
  local value, err, reused = attempt(work)
  -- An idle connection may have been closed by a restart of Redis: that says nothing about the new one.
  if value == nil and reused then value, err = attempt(work) end
  M.mark(value == nil, err)
  return value, err
end

--- True while the store has lost its data and is being rebuilt: what it lacks may well exist. An answer that is none says no.
function M.has_lost_all(red)
  return red:get('store:incarnation') == ngx.null
end

return M
