-- Host names as visitors send them.

local memo = require('culvert.memo')
local settings = require('culvert.settings')

local M = {}

local function fault_of_label(label)
  if #label == 0 or #label > 63 then return 'has a label that is empty or longer than 63 characters' end
  if label:find('^-') or label:find('-$') then return 'has a label that begins or ends with a hyphen' end
end

local function classify(raw)
  if raw:find('^%[[%x:.]+%]:?%d*$') then return 'ip', raw end
  local name = raw:lower():gsub(':%d*$', ''):gsub('%.$', '')
  if #name == 0 or #name > 253 then return nil, 'the host name is empty or longer than 253 characters' end
  if name:find('[^a-z0-9.-]') then return nil, 'the host name has characters other than a-z, 0-9, dot and hyphen' end
  for label in (name .. '.'):gmatch('([^.]*)%.') do
    local fault = fault_of_label(label)
    if fault then return nil, 'the host name ' .. fault end
  end
  if name:find('^%d+$') or name:find('%.%d+$') then return 'ip', name end
  if name == settings.domain then return 'apex', name end
  local suffix = '.' .. settings.domain
  if #name > #suffix and name:sub(-#suffix) == suffix then return 'device', name end
  return 'other', name
end

local remembered = memo.of(function(raw)
  local kind, name = classify(raw)
  return { kind = kind, name = name }
end, 1000)

--- Normalises the value of a Host header: lower case, no port, no final dot. Returns kind and name; kind is `device` (a
--- name under our domain), `apex` (the domain itself), `other`, `ip`, or nil with what is wrong.
function M.classify(raw)
  if raw == nil or raw == '' then return nil, 'the Host header is missing' end
  local found = remembered(raw)
  return found.kind, found.name
end

--- The same for the request at hand. A request line that names another host than the header is refused: whoever sits in
--- front of or behind us could take the other one.
function M.of_request()
  local raw = ngx.var.http_host
  local kind, name = M.classify(raw)
  if kind and kind ~= 'ip' and ngx.var.host ~= name then
    return nil, 'the request line and the Host header name different hosts'
  end
  return kind, name
end

return M
