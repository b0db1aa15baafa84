-- Reserves ports for a tenure that waits for its confirm; they return with it when it is given up. O(n log N) for n ports.
-- The port that has been free for longest goes first.
--
-- KEYS   1 lease:<device>  2 ports:<listener>  3 ports:<listener>:held  4 ports:<listener>:range
-- ARGV   1 device  2 epoch of the tenure  3 listener  4 how many  5 range of the listener as <first>-<last>
--        6 COOL_DOWN_MS  7 JSON array of ports of this tenure that cannot be bound: put aside for a cool-down
-- Reply  ok <port>... | stale | unregistered (the range is not, or not thus, known) | exhausted <free ports>
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local text = redis.call('HGET', KEYS[1], 'pending')
local pending = text and cjson.decode(text)
if not pending or pending.epoch ~= tonumber(ARGV[2]) then return { 'stale' } end
if pending.listener and pending.listener ~= ARGV[3] then return { 'stale' } end
if redis.call('GET', KEYS[4]) ~= ARGV[5] then return { 'unregistered' } end

local owner = ARGV[1] .. ' ' .. string.format('%.0f', pending.epoch)
local unusable, kept = {}, {}
for _, port in ipairs(cjson.decode(ARGV[7])) do
  if redis.call('HGET', KEYS[3], port) == owner then
    unusable[port] = true
    redis.call('HDEL', KEYS[3], port)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[6])), port)
  end
end
for _, port in ipairs(pending.ports or {}) do
  if not unusable[port] then kept[#kept + 1] = port end
end

local count, reply = tonumber(ARGV[4]), { 'ok' }
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, count)
if #found < count then reply = { 'exhausted', #found } else
  for _, port in ipairs(found) do
    redis.call('ZREM', KEYS[2], port)
    redis.call('HSET', KEYS[3], port, owner)
    kept[#kept + 1] = tonumber(port)
    reply[#reply + 1] = tonumber(port)
  end
end
pending.listener, pending.ports = ARGV[3], kept
if #kept == 0 then pending.listener = nil end -- nothing reserved here: another listener may be tried
redis.call('HSET', KEYS[1], 'pending', cjson.encode(pending))
return reply
