-- Gives the right to relay back, so that another one need not wait for the TTL.
--
-- KEYS   1 relay:lock
-- ARGV   1 owner
-- Reply  1 given back, 0 it was somebody else's
local text = redis.call('GET', KEYS[1])
if not text or string.match(text, '^(%S+) ') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
