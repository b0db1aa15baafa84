-- One step of rebuilding a store that has lost its data. One owner goes through it; while it is silent another takes over.
--
--   (incarnation is missing) -> preparing --open--> open, instances re-assert --until--> alive under a new incarnation
--
-- KEYS   1 store:incarnation  2 store:recovery  3 outbox  4 sweep:floor  5 leases
-- ARGV   1 owner (random per start)  2 random incarnation, used when this begins it  3 how long the owner may be silent, ms
--        4 'open' when the registry is loaded, else ''  5 how long instances may re-assert, ms
--        6 incarnation that was lost, '' = the system is new and nothing is announced
--        7 least time that leases in grace get afterwards, ms
-- Reply  alive <incarnation> | following | preparing <incarnation> | open <incarnation> | finished <incarnation> <leases>
local alive = redis.call('GET', KEYS[1])
if alive then return { 'alive', alive } end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function int(number) return string.format('%.0f', number) end

redis.call('HSETNX', KEYS[2], 'incarnation', ARGV[2])
local found = redis.call('HMGET', KEYS[2], 'incarnation', 'owner', 'owner_until', 'until', 'previous')
local incarnation, ends = found[1], tonumber(found[4] or '')
if found[2] and found[2] ~= ARGV[1] and tonumber(found[3]) > now then return { 'following' } end
redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'owner_until', int(now + tonumber(ARGV[3])))
if not ends then
  if ARGV[4] ~= 'open' then return { 'preparing', incarnation } end
  ends = now + tonumber(ARGV[5])
  found[5] = ARGV[6]
  redis.call('HSET', KEYS[2], 'until', int(ends), 'previous', ARGV[6])
end
if now < ends then return { 'open', incarnation } end

local leases = redis.call('ZCARD', KEYS[5])
redis.call('SET', KEYS[1], incarnation)
redis.call('DEL', KEYS[2])
if found[5] ~= '' then
  redis.call('SET', KEYS[4], int(now + tonumber(ARGV[7])), 'PX', ARGV[7])
  redis.call('XADD', KEYS[3], '*', 'id', incarnation .. ':' .. incarnation .. ':' .. int(now) .. ':0', 'type', 'store.recovered',
    'device', incarnation, 'time', int(now), 'data', cjson.encode({ epoch = now, seq = 0, reason = 'data_lost',
      incarnation = incarnation, previous = found[5], leases = leases }))
end
return { 'finished', incarnation, leases }
