-- Writes the routes of a lease anew, after its listener was started again at another address.
--
-- KEYS   the six of includes/lease.lua, what the lease owns
-- ARGV   1 device  2 listener  3 host of route addresses
-- Reply  ok <routes changed> | stale | changed | recovering
-- @include lease

if not incarnation then return { 'recovering' } end
local lease = load()
if undeclared(lease) then return { 'changed' } end
if lease.listener ~= ARGV[2] then return { 'stale' } end
local changed = 0
for _, endpoint in ipairs(routes_of(lease.endpoints)) do
  local route, address = 'route:' .. endpoint.host, ARGV[3] .. ':' .. endpoint.public_port
  local present = redis.call('HGET', route, 'address')
  if present and present ~= address then
    redis.call('HSET', route, 'address', address)
    redis.call('PUBLISH', 'route.changed', endpoint.host)
    changed = changed + 1
  end
end
return { 'ok', changed }
