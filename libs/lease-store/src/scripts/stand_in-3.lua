-- Another listener serves the names of a lease for a while; the lease keeps its listener and its ports. What says so ends by
-- its own TTL, is good for one tenure only, and is read beside the route: no other script knows of it.
--
-- KEYS   1 lease:<device>  2 standins  3 store:incarnation, then standin:<host> of every name
-- ARGV   1 device  2 epoch of the lease  3 its listener  4 for how long in ms  5 the listener that stands in, then the host and
--        the address there of every name
-- Reply  ok | stale (the lease is another by now, or has other names) | recovering
-- @include settled
if not settled or not redis.call('GET', KEYS[3]) then return { 'recovering' } end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local lease = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'listener', 'endpoints')
if not lease[1] or lease[2] ~= ARGV[2] or lease[3] ~= ARGV[3] then return { 'stale' } end
local names = {}
for _, endpoint in ipairs(cjson.decode(lease[4])) do
  if endpoint.scheme ~= 'tcp' and endpoint.host then names[endpoint.host] = true end
end
for i = 6, #ARGV, 2 do
  if not names[ARGV[i]] then return { 'stale' } end
end

for i = 6, #ARGV, 2 do
  local host, address = ARGV[i], ARGV[i + 1]
  redis.call('SET', KEYS[4 + (i - 6) / 2], ARGV[2] .. ' ' .. address .. ' ' .. ARGV[5], 'PX', ARGV[4])
  redis.call('PUBLISH', 'route.changed', host)
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[4])), ARGV[3] .. ' ' .. ARGV[1])
return { 'ok' }
