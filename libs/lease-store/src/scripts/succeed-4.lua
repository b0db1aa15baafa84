-- Takes a primary into service that was started again, or was a replica before. Events that were sent, and that its outbox has never had, prove
-- that it lacks writes which were acknowledged: that is announced, and numbers of events go on beyond all that were sent.
--
-- KEYS   1 store:primary  2 outbox  3 store:incarnation  4 leases
-- ARGV   1 replication id of this server, as it was asked before  2 place of the last event that was sent, '0' = unknown,
--        'foreign' = it was sent under another incarnation
-- Reply  settled | changed (another server answers) | lost <the floor of numbers>
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if replid ~= ARGV[1] then return { 'changed' } end
local former = redis.call('HGET', KEYS[1], 'replid')
if former == replid then return { 'settled' } end
redis.call('HSET', KEYS[1], 'replid', replid)

local function place_of(text)
  local ms, nth = string.match(text, '^(%d+)-?(%d*)$')
  return tonumber(ms), tonumber(nth ~= '' and nth or 0)
end
local last_ms, last_nth = 0, 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  local stream = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #stream, 2 do
    if stream[i] == 'last-generated-id' then last_ms, last_nth = place_of(stream[i + 1]) end
  end
end
local foreign = ARGV[2] == 'foreign'
local sent_ms, sent_nth = place_of(foreign and '0' or ARGV[2])
local incarnation = redis.call('GET', KEYS[3])
-- A store that has been in service, and whose stream goes on under another incarnation, is older than that one.
local older = foreign and former
if not incarnation or not older and (sent_ms < last_ms or (sent_ms == last_ms and sent_nth <= last_nth)) then return { 'settled' } end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local floor = math.max(now, sent_ms + 1, last_ms + 1)
local text = string.format('%.0f', floor)
redis.call('HSET', KEYS[1], 'seq_floor', text)
redis.call('XADD', KEYS[2], text .. '-0', 'id', incarnation .. ':' .. incarnation .. ':' .. text .. ':0',
  'type', 'store.recovered', 'device', incarnation, 'time', string.format('%.0f', now),
  'data', cjson.encode({ epoch = floor, seq = 0, reason = 'writes_lost', incarnation = incarnation, previous = incarnation,
    leases = redis.call('ZCARD', KEYS[4]) }))
return { 'lost', floor }
