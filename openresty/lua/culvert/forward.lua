-- What is the same for all requests that are passed on: forged headers go, upgrades stay.

local base = require('resty.core.base')
local ffi = require('ffi')
local memo = require('culvert.memo')

local C = ffi.C
local get_request, get_string_buf = base.get_request, base.get_string_buf
local headers_type = ffi.typeof('ngx_http_lua_ffi_table_elt_t *')
local header_size = ffi.sizeof('ngx_http_lua_ffi_table_elt_t')
local truncated = ffi.new('int[1]')

local M = {}

local FORGED = { forwarded = true, ['x-real-ip'] = true }
-- What a request is judged by.
local TOLD = { accept = true, cookie = true, upgrade = true, ['content-length'] = true, ['transfer-encoding'] = true }
local NONE = {}

local kind_of = memo.of(function(name)
  if TOLD[name] then return 'told' end
  name = name:gsub('_', '-') -- gateways of the CGI kind take both for the same
  return (FORGED[name] or name:find('^x%-forwarded%-') or name:find('^culvert%-')) and 'forged' or 'other'
end, 1000)

--- Drops what only the edge may say. Returns those of TOLD that there are, not to be changed; the values of one that comes more
--- than once are put together by commas.
function M.drop_forged()
  local r = get_request()
  local count = C.ngx_http_lua_ffi_req_get_headers_count(r, 0, truncated)
  if count <= 0 then return NONE end
  -- As ngx.req.get_headers does it, but without a table and strings of everything, which nobody looks at.
  local headers = ffi.cast(headers_type, get_string_buf(count * header_size))
  C.ngx_http_lua_ffi_req_get_headers(r, headers, count, 0)
  local told, forged = NONE, nil
  for i = 0, count - 1 do
    local name = ffi.string(headers[i].key.data, headers[i].key.len)
    local kind = kind_of(name)
    if kind == 'told' then
      if told == NONE then told = {} end
      local value = ffi.string(headers[i].value.data, headers[i].value.len)
      told[name] = told[name] and told[name] .. ',' .. value or value
    elseif kind == 'forged' then
      forged = forged or {}
      forged[#forged + 1] = name
    end
  end
  -- Afterwards: it needs the buffer that the list is in.
  if forged then
    for _, name in ipairs(forged) do ngx.req.clear_header(name) end
  end
  return told
end

--- Sets Connection and Upgrade for the next hop, which are empty at first. `headers`: what drop_forged has returned; `reuse`:
--- the connection may serve others afterwards.
function M.set_connection(headers, reuse)
  local var = ngx.var
  local upgrade = headers.upgrade and var.http_upgrade
  local wanted = upgrade and (var.http_connection or ''):lower():find('upgrade', 1, true)
  -- h2c would smuggle requests past everything that is checked here; who asks for it gets HTTP/1.1, as the RFC allows.
  if wanted and not upgrade:lower():find('h2c', 1, true) then
    var.culvert_connection = 'upgrade'
    var.culvert_upgrade = upgrade
  elseif not reuse then
    var.culvert_connection = 'close'
  end
end

return M
