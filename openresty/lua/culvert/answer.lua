-- What goes back: the listener's outcomes become pages, devices' Culvert-* headers go, the request's own number comes.

local clock = require('culvert.clock')
local pages = require('culvert.pages')
local settings = require('culvert.settings')

local M = {}

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

function M.header()
  local var = ngx.var
  local outcome = var.upstream_http_culvert_outcome
  if outcome and var.upstream_http_culvert_secret == settings.edge_secret then
    replace(outcome)
  else
    for name in pairs(ngx.resp.get_headers(0, true)) do
      if name:lower():find('^culvert%-') then ngx.header[name] = nil end
    end
  end
  ngx.header['Culvert-Visitor'] = var.request_id
end

function M.body()
  local page = ngx.ctx.page
  if page == nil then return end
  -- The whole page with the first piece, nothing of what follows.
  ngx.arg[1] = page
  ngx.arg[2] = true
  ngx.ctx.page = ''
end

function M.log()
  local var = ngx.var
  if var.culvert_outcome ~= '' then return end
  var.culvert_outcome = var.status == '499' and 'visitor_gone' or 'ok'
end

return M
