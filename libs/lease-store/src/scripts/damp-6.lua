-- Judges whether a newcomer and those before it oust each other in turn: its boot was here, another came, and it is back.
-- Each return makes the next one wait longer, counted from when the present one came. A client that is started anew again
-- and again has a new boot every time and is not meant.
--
-- KEYS   the six of includes/lease.lua
-- ARGV   1 device  2 boot of the newcomer  3 its address  4 FLAPPING_WINDOW_MS  5 FLAPPING_MS, the first wait
--        6 longest wait in ms
-- Reply  ok | flapping <how long to wait in ms> | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
local boot, window = ARGV[2], tonumber(ARGV[4])
if not lease.state or not lease.boots or boot == '' then return { 'ok' } end

local boots = cjson.decode(lease.boots)
local last = boots[#boots]
if last.boot == boot then return { 'ok' } end
local seen, returns, is_return = {}, 0, false
for i, one in ipairs(boots) do
  -- What counts is when it was ousted: when the next one came.
  local ousted_at = boots[i + 1] and boots[i + 1].at or now
  if now - ousted_at <= window then
    if seen[one.boot] then returns = returns + 1 end
    seen[one.boot] = true
    if one.boot == boot then is_return = true end
  end
end
if not is_return then return { 'ok' } end

if now - tonumber(lease.flapping_at or 0) > window then
  emit('device.flapping', lease.epoch, lease.seq, { reason = 'ousted_in_turn', remotes = { last.remote, ARGV[3] } })
  redis.call('HSET', KEYS[1], 'seq', lease.seq + 1, 'flapping_at', int(now))
end
local from = last.at + math.min(tonumber(ARGV[6]), tonumber(ARGV[5]) * 2 ^ returns)
if now < from then return { 'flapping', from - now } end
return { 'ok' }
