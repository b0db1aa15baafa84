-- Makes the free ports of a listener fit its range: new ports are added, free ones outside it go, held ones stay.
--
-- KEYS   1 ports:<listener>  2 ports:<listener>:held  3 ports:<listener>:range
-- ARGV   1 first  2 last
-- Reply  <free ports, those in cool-down included>
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
for _, port in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if tonumber(port) < first or tonumber(port) > last then redis.call('ZREM', KEYS[1], port) end
end
local held, batch = {}, {}
for _, port in ipairs(redis.call('HKEYS', KEYS[2])) do held[tonumber(port)] = true end
for port = first, last do
  if not held[port] then
    batch[#batch + 1] = 0
    batch[#batch + 1] = port
  end
  if #batch > 0 and (#batch >= 2000 or port == last) then
    redis.call('ZADD', KEYS[1], 'NX', unpack(batch))
    batch = {}
  end
end
redis.call('SET', KEYS[3], ARGV[1] .. '-' .. ARGV[2])
return redis.call('ZCARD', KEYS[1])
