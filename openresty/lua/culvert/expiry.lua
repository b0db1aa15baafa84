-- When a certificate ends. ngx.ssl does not tell, so it is read out of the DER:
--
--   certificate { to be signed { [0] version, serial number, algorithm, issuer, validity { not before, NOT AFTER }, ... }, ... }

local ssl = require('ngx.ssl')

local SEQUENCE, UTC_TIME, GENERALIZED_TIME, VERSION = 0x30, 0x17, 0x18, 0xa0
local MONTHS = { 'Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec' }

local M = {}

--- Tag of the element at `at`, where its content begins and where the next element would; nil when there is no whole one.
local function element(der, at)
  local tag, length = der:byte(at, at + 1)
  if not length then return nil end
  local from = at + 2
  if length >= 128 then
    local digits = der:sub(from, from + length - 129)
    from, length = from + length - 128, 0
    for i = 1, #digits do length = length * 256 + digits:byte(i) end
  end
  if from + length > #der + 1 then return nil end
  return tag, from, from + length
end

--- Where the content of the sequence at `at` begins; nil when there is none.
local function within(der, at)
  local tag, from = element(der, at)
  return tag == SEQUENCE and from or nil
end

local function not_after(der)
  local at = within(der, 1)
  at = at and within(der, at)
  if not at then return nil end
  local skipped = element(der, at) == VERSION and 4 or 3 -- version 1 has no field for it
  for _ = 1, skipped do
    local tag, _, next_at = element(der, at)
    if not tag then return nil end
    at = next_at
  end
  at = within(der, at)
  local _, _, ending = element(der, at or #der + 1)
  local tag, from, next_at = element(der, ending or #der + 1)
  if tag ~= UTC_TIME and tag ~= GENERALIZED_TIME then return nil end
  return der:sub(from, next_at - 1)
end

--- Unix seconds of the last moment at which the certificate (PEM; of a chain, the first) is in force; nil and what is wrong.
function M.of(pem)
  local der, err = ssl.cert_pem_to_der(pem)
  if not der then return nil, err end
  local year, month, day, hour, minute, second = (not_after(der) or ''):match('^(%d+)(%d%d)(%d%d)(%d%d)(%d%d)(%d%d)Z$')
  if not year then return nil, 'its validity is not understood' end
  if #year == 2 then year = (tonumber(year) < 50 and '20' or '19') .. year end
  -- The name of the day is not looked at.
  return ngx.parse_http_time(('Day, %s %s %s %s:%s:%s GMT'):format(day, MONTHS[tonumber(month)], year, hour, minute, second))
end

return M
