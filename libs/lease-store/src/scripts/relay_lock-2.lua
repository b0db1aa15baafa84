-- Takes or renews the right to relay the outbox. The fencing number grows with every new owner.
--
-- KEYS   1 relay:lock  2 relay:fence
-- ARGV   1 owner (random per start)  2 TTL in ms
-- Reply  <fencing number> | 0 (another one has it)
local text = redis.call('GET', KEYS[1])
if text then
  local owner, fence = string.match(text, '^(%S+) (%d+)$')
  if owner ~= ARGV[1] then return 0 end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(fence)
end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. fence, 'PX', ARGV[2])
return fence
