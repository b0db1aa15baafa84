-- Lends ports of a listener, to be used by somebody for a while without being held: they stay among the free ones, but are
-- given out again only once that while and a cool-down after it are over. So there is nothing to give back, whoever dies.
-- Leases go first: a share of the range stays free for them.
--
-- KEYS   1 ports:<listener>  2 ports:<listener>:range
-- ARGV   1 how many  2 for how long in ms, cool-down included  3 share of the range that stays free, in per cent
-- Reply  ok <port>... | exhausted <free ports>
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function int(number) return string.format('%.0f', number) end
local first, last = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+)-(%d+)$')
if not first then return { 'exhausted', 0 } end
local count, size = tonumber(ARGV[1]), tonumber(last) - tonumber(first) + 1
local free = redis.call('ZCOUNT', KEYS[1], '-inf', int(now))
if free - count < math.ceil(size * tonumber(ARGV[3]) / 100) then return { 'exhausted', free } end
local reply = { 'ok' }
for _, port in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, count)) do
  redis.call('ZADD', KEYS[1], int(now + tonumber(ARGV[2])), port)
  reply[#reply + 1] = tonumber(port)
end
return reply
