-- Which Redis is the primary, as its sentinels say. Asked at most once a second by one request for all workers; everybody
-- else, and everybody while no sentinel answers, goes by the last answer.

local ASK_EVERY_S = 1

local M = {}

local function split(text)
  local host, port = text:match('^(%S+) (%d+)$')
  return host, tonumber(port)
end

local function ask(client, at, name, timeout_ms)
  local red, err = client:new()
  if not red then return nil, err end
  red:set_timeout(timeout_ms)
  local ok
  ok, err = red:connect(at.host, at.port, { pool = 'sentinel:' .. at.host .. ':' .. at.port })
  if not ok then return nil, err end
  local reply
  reply, err = red:sentinel('get-master-addr-by-name', name)
  if type(reply) ~= 'table' then
    red:close()
    return nil, err or ('a sentinel knows no primary ' .. name)
  end
  red:set_keepalive(30000, 4)
  local host = reply[1]
  if host:find(':', 1, true) then host = '[' .. host .. ']' end
  return host .. ' ' .. reply[2]
end

--- Host and port of the primary; nil and why it is not known. `at`: {sentinels, name}, `client`: the Redis library.
function M.primary(client, at, timeout_ms)
  local state = ngx.shared.culvert_state
  local known = state:get('primary')
  if known and not state:add('primary_asked', true, ASK_EVERY_S) then return split(known) end
  local first, why = state:get('sentinel') or 0, nil
  for i = 0, #at.sentinels - 1 do
    -- The one that answered last goes first: a frozen one costs its time-out once, not every time.
    local turn = (first + i) % #at.sentinels
    local answer, err = ask(client, at.sentinels[turn + 1], at.name, timeout_ms)
    if answer then
      if known and known ~= answer then ngx.log(ngx.NOTICE, 'the primary is now ', answer, ', was ', known) end
      state:set('sentinel', turn)
      state:set('primary', answer)
      return split(answer)
    end
    why = err
  end
  if known then return split(known) end
  return nil, 'no sentinel answers: ' .. (why or '')
end

--- The one we were told of cannot be reached: whoever wants to know next asks at once.
function M.doubt() ngx.shared.culvert_state:delete('primary_asked') end

return M
