-- Whether this server, since its start, is known as the primary. One that was started again, or was a replica, may lack writes
-- that were acknowledged, and whose events went out: nothing changes until somebody has compared both (succeed-4.lua).
-- `seq_floor` is beyond every number that an event of a lost write can have had; older tenures go on from there.
-- store:primary is one key of every script, so none declares it. A store without it has nothing to compare.
local known_primary = redis.call('HMGET', 'store:primary', 'replid', 'seq_floor')
local settled = not known_primary[1]
  or known_primary[1] == string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local seq_floor = tonumber(known_primary[2] or 0)

