-- What goes back: the listener's outcomes become pages, devices' Culvert-* headers go, the request's own number comes.

local clock = require('culvert.clock')
local memo = require('culvert.memo')
local pages = require('culvert.pages')
local settings = require('culvert.settings')

local M = {}

local is_ours = memo.of(function(name) return name:lower():find('^culvert%-') ~= nil end, 1000)

--- Puts the page of an outcome in the place of the listener's empty answer.
local function replace(outcome)
  local page = pages.make(outcome, {
    host = ngx.var.culvert_host,
    -- The listener has just heard of it; the route will say it more exactly at the next request.
    since = outcome == 'device_offline' and clock.now_ms() or nil,
  })
  ngx.var.culvert_outcome = outcome
  ngx.status = page.status
  for name in pairs(ngx.resp.get_headers(0, true)) do ngx.header[name] = nil end
  for name, value in pairs(page.headers) do ngx.header[name] = value end
  ngx.ctx.page = page.body
end

--- nginx takes an answer that is no HTTP/1 for HTTP/0.9 and would pass it on without a header. The page takes its place,
--- its header as part of the body, as that is all that nginx still sends.
local function replace_nonsense()
  local page = pages.make('peer_reset', { host = ngx.var.culvert_host })
  ngx.var.culvert_outcome = 'peer_reset'
  ngx.status = page.status
  local lines = { 'HTTP/1.1 502 Bad Gateway', 'Connection: close', 'Culvert-Visitor: ' .. ngx.var.request_id }
  for name, value in pairs(page.headers) do lines[#lines + 1] = name .. ': ' .. value end
  local body = ngx.req.get_method() == 'HEAD' and '' or page.body
  ngx.ctx.page = table.concat(lines, '\r\n') .. '\r\n\r\n' .. body
end

function M.header()
  local var = ngx.var
  if ngx.req.http_version() == 0.9 and var.upstream_status then return replace_nonsense() end
  for name in pairs(ngx.resp.get_headers(0, true)) do
    if is_ours(name) then
      local outcome = var.upstream_http_culvert_outcome
      if outcome and var.upstream_http_culvert_secret == settings.edge_secret then
        replace(outcome)
        break
      end
      ngx.header[name] = nil
    end
  end
  if settings.hsts_s and var.https == 'on' then ngx.header['Strict-Transport-Security'] = 'max-age=' .. settings.hsts_s end
end

function M.body()
  local page = ngx.ctx.page
  if page == nil then return end
  -- The whole page with the first piece, nothing of what follows.
  ngx.arg[1] = page
  ngx.arg[2] = true
  ngx.ctx.page = ''
end

return M
