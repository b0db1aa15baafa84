-- The names of a lease are served by its own listener again.
--
-- KEYS   1 standins, then standin:<host> of every name
-- ARGV   1 device  2 listener of the lease  3 epoch: a stand-in of another tenure stays, then every host
-- Reply  <how many names>
redis.call('ZREM', KEYS[1], ARGV[2] .. ' ' .. ARGV[1])
local ended = 0
for i = 4, #ARGV do
  local text = redis.call('GET', KEYS[i - 2])
  if text and string.match(text, '^(%d+) ') == ARGV[3] then
    redis.call('DEL', KEYS[i - 2])
    redis.call('PUBLISH', 'route.changed', ARGV[i])
    ended = ended + 1
  end
end
return ended
