-- How fast visitors ask: for the pages of one device, and from one address. A bucket each, which fills at the rate and holds a
-- second's worth, at least one. Who finds it empty is answered a while later, so that one who asks again and again, on however
-- many connections, costs no more than the patient.

local cache = require('culvert.cache')
local kept = require('culvert.kept')
local pages = require('culvert.pages')
local rates = require('culvert.rates')
local settings = require('culvert.settings')

-- Policies are announced when they change (subscriber.lua): they are read anew this many times more seldom than routes.
local AGES = 15
-- Requests that a worker holds back in a second; what comes beyond is refused at once.
local MOST_HELD = 1000
-- What fills within this time a worker takes at once, so that one request of many costs a lock.
local PURSE_S = 0.01
local MOST_PURSES = 1000

-- Times are sums of many steps, each of them rounded.
local ROUNDING_S = 1e-6

local M = {}

--- Seconds, rounded up to what shared memory counts in; for less than that it would keep a key for ever.
local function whole_ms(seconds) return math.max(1, math.ceil(seconds * 1000)) / 1000 end

--- The rate that the policy of a device names, as text; `none` when it names none.
local function load(key)
  local policy, err = kept.read(key)
  if policy == nil then return nil, err end
  local rate = policy and tonumber(policy.requests_per_second)
  return rate and rate > 0 and tostring(rate) or 'none'
end

local known

local function store()
  known = known or cache.new({
    values = 'culvert_access',
    misses = 'culvert_misses',
    age_ms = math.min(settings.route_age_ms * AGES, settings.route_stale_ms),
    stale_ms = settings.route_stale_ms,
    load = load,
  })
  return known
end

--- Takes `n` from a bucket. It is kept as the time at which it will be full again, and not kept any more by then. Workers may
--- take at the very same moment: each adds what it takes, and takes it back where that was too much.
local function takes_at_once(key, rate, n)
  local paces, now, step = ngx.shared.culvert_paces, ngx.now(), n / rate
  local full_at, err = paces:incr(key, step, now, whole_ms(step))
  if not full_at then
    ngx.log(ngx.WARN, 'cannot keep the pace of ', key, ': ', err)
    return true
  end
  if full_at - now > math.max(1, step) + ROUNDING_S then
    paces:incr(key, -step)
    return false
  end
  paces:expire(key, whole_ms(full_at - now))
  return true
end

-- What a worker has taken in advance and may spend without a lock: {left, till}.
local purses, purse_count = {}, 0

local function purse_of(key)
  local purse = purses[key]
  if purse then return purse end
  if purse_count >= MOST_PURSES then
    purses, purse_count = {}, 0
  end
  purse = { left = 0, till = 0 }
  purses[key], purse_count = purse, purse_count + 1
  return purse
end

--- Takes one from a bucket, by way of the worker's own purse where the rate is high enough for that.
local function takes(key, rate)
  local share = math.floor(rate * PURSE_S)
  if share < 2 then return takes_at_once(key, rate, 1) end
  local purse, now = purse_of(key), ngx.now()
  if purse.left == 0 or now >= purse.till then
    if not takes_at_once(key, rate, share) then return takes_at_once(key, rate, 1) end
    purse.left, purse.till = share, now + 1
  end
  purse.left = purse.left - 1
  return true
end

local second, held = 0, 0

--- Answers the request at hand that it came too fast, later.
function M.turn_away(name)
  local now = math.floor(ngx.now())
  if now ~= second then
    second, held = now, 0
  end
  held = held + 1
  if held <= MOST_HELD then ngx.sleep(settings.too_fast_ms / 1000) end
  return pages.send('rate_limited', { host = name })
end

--- Does the peer at hand ask faster than one address may?
function M.address_is_too_fast() return not takes('a' .. rates.peer(), settings.requests_per_address) end

--- Is the device asked faster than it may be?
function M.device_is_too_fast(device)
  -- Where nobody knows the policy, the limit holds.
  local policy = store():get('policy ' .. device)
  local rate = policy and policy ~= 'none' and tonumber(policy) or settings.requests_per_device
  return not takes('d' .. device, rate)
end

--- Forgets a policy that has changed; `key` is `policy <device>`.
function M.drop(key) store():drop(key) end

return M
