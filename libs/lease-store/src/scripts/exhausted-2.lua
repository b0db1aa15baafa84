-- Announces that a listener has too few free ports, at most once per pause.
--
-- KEYS   1 exhausted:<listener>  2 outbox. store:incarnation is only read: to declare it would take the right to write it
-- ARGV   1 listener  2 device that was refused  3 pause in ms
-- Reply  1 announced, 0 was announced already
-- @include settled
local incarnation = settled and redis.call('GET', 'store:incarnation')
if not incarnation or not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[3]) then return 0 end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local text = string.format('%.0f', now)
redis.call('XADD', KEYS[2], '*', 'id', incarnation .. ':' .. ARGV[1] .. ':' .. text .. ':0', 'type', 'ports.exhausted',
  'device', ARGV[1], 'time', text,
  'data', cjson.encode({ epoch = now, seq = 0, reason = 'ports_exhausted', listener = ARGV[1], device = ARGV[2] }))
return 1
