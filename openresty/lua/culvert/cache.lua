-- Values of Redis kept in shared memory with an age.
--
--   fresh (younger than age) -----------> served
--   old -> Redis answers ---------------> served, fresh again
--       -> Redis is away, not yet stale -> served as it is
--       -> Redis is away, too old ------> nil
--
-- Of the requests of one worker that miss the same key at once only one asks Redis. What was just looked up in shared memory is
-- taken from the worker's own for a moment: a busy key costs no lock with each request.

local memo = require('culvert.memo')
local semaphore = require('ngx.semaphore')
local settings = require('culvert.settings')
local clock = require('culvert.clock')

-- So long a worker does not look at what another one may have read anew; its own announcements of changes count at once.
local GLANCE_MS = 50
local MOST_GLANCES = 1000

local M = {}
M.__index = M

--- opts: values and misses (names of shared dictionaries), age_ms, stale_ms, miss_ms (default age_ms),
--- load(key) -> text | false (absent) | nil, err.
function M.new(opts)
  return setmetatable({ opts = opts, flights = {}, glances = {}, glanced = 0 }, M)
end

--- An entry serves every request of a key until it is too old.
local split = memo.of(function(entry)
  local at, text = entry:match('^(%d+)\n(.*)$')
  return { at = tonumber(at), text = text }
end, 1000)

function M:keep(key, value)
  self.glances[key] = nil
  local values, misses = ngx.shared[self.opts.values], ngx.shared[self.opts.misses]
  if value == false then
    values:delete(key)
    misses:set(key, true, (self.opts.miss_ms or self.opts.age_ms) / 1000)
    return
  end
  misses:delete(key)
  local _, err = values:set(key, clock.now_ms() .. '\n' .. value, self.opts.stale_ms / 1000)
  if err then ngx.log(ngx.WARN, 'cannot keep ', key, ': ', err) end
end

local function fly(self, key)
  local flight = self.flights[key]
  if flight then
    flight.waiting = flight.waiting + 1
    -- Twice the deadline of a reply: the flight may use it once more on a fresh connection.
    local landed, err = flight.landed:wait(settings.store_ms * 2 / 1000)
    if not landed then return nil, err end
    return flight.value, flight.err
  end
  flight = { landed = semaphore.new(0), waiting = 0 }
  self.flights[key] = flight
  local ok, value, err = pcall(self.opts.load, key)
  if not ok then value, err = nil, value end
  self.flights[key] = nil
  -- A change announced meanwhile may be newer than what was read: then it is used this once and not kept.
  if value ~= nil and not flight.dirty then self:keep(key, value) end
  flight.value, flight.err = value, err
  if flight.waiting > 0 then flight.landed:post(flight.waiting) end
  return value, err
end

--- The text and its time under `key`, of whatever age; nil when there is none.
local function look(self, key, now)
  local glance = self.glances[key]
  if glance and now <= glance.till then return glance.known end
  local entry = ngx.shared[self.opts.values]:get(key)
  if not entry then return nil end
  local known = split(entry)
  if glance then
    glance.known, glance.till = known, now + GLANCE_MS
    return known
  end
  if self.glanced >= MOST_GLANCES then
    self.glances, self.glanced = {}, 0
  end
  self.glances[key], self.glanced = { known = known, till = now + GLANCE_MS }, self.glanced + 1
  return known
end

--- The text under `key` if it is younger than its age, else nil.
function M:fresh(key)
  local now = clock.now_ms()
  local known = look(self, key, now)
  if known and now - known.at <= self.opts.age_ms then return known.text end
end

--- The text under `key`; false when there is none; nil and an error when nobody knows. `anew` asks Redis whatever the age.
function M:get(key, anew)
  local now = clock.now_ms()
  local known = look(self, key, now)
  if known then
    if not anew and now - known.at <= self.opts.age_ms then return known.text end
  elseif not anew and ngx.shared[self.opts.misses]:get(key) then
    return false
  end
  local value, err = fly(self, key)
  if value ~= nil then return value end
  if known and clock.now_ms() - known.at <= self.opts.stale_ms then return known.text end
  return nil, err
end

--- Forgets `key`: it has changed.
function M:drop(key)
  self.glances[key] = nil
  ngx.shared[self.opts.values]:delete(key)
  ngx.shared[self.opts.misses]:delete(key)
  local flight = self.flights[key]
  if flight then flight.dirty = true end
end

return M
