-- Sends ports into cool-down that are still held under an epoch although its lease has them no longer.
--
-- KEYS   1 lease:<device>  2 ports:<listener>  3 ports:<listener>:held  4 ports:<listener>:range
-- ARGV   1 device  2 epoch  3 listener  4 COOL_DOWN_MS  5 JSON array of ports
-- Reply  <number released>
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local record = redis.call('HMGET', KEYS[1], 'state', 'listener', 'endpoints', 'pending')
local used = {}
if record[1] and record[2] == ARGV[3] then
  for _, endpoint in ipairs(cjson.decode(record[3])) do used[endpoint.public_port] = true end
end
local pending = record[4] and cjson.decode(record[4])
if pending and pending.listener == ARGV[3] then
  for _, port in ipairs(pending.ports) do used[port] = true end
end

local first, last = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+)-(%d+)$')
local released = 0
for _, port in ipairs(cjson.decode(ARGV[5])) do
  if not used[port] and redis.call('HGET', KEYS[3], port) == ARGV[1] .. ' ' .. ARGV[2] then
    redis.call('HDEL', KEYS[3], port)
    if first and port >= tonumber(first) and port <= tonumber(last) then
      redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[4])), port)
    end
    released = released + 1
  end
end
return released
