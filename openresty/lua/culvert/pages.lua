-- The pages that the edge makes itself, as HTML or, where the client asks for it, JSON. Nothing on them comes from
-- elsewhere unescaped, and they load nothing.

local clock = require('culvert.clock')
local json = require('culvert.json')
local texts = require('culvert.texts')

local M = {}

local HEAD = [[<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>%s</title>
<style>
:root { color-scheme: light dark; --ink: #1d2430; --soft: #566072; --paper: #f6f7f9; --card: #fff; --edge: #dde1e8; --mark: #0b6b62 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf0; --soft: #a3adbd; --paper: #12151b; --card: #1a1f28; --edge: #2d3542; --mark: #4cc2b4 }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { width: 100%%; max-width: 34rem; padding: 2rem; background: var(--card); border: 1px solid var(--edge); border-top: 4px solid var(--mark); border-radius: .5rem }
h1 { margin: 0 0 .75rem; font-size: 1.5rem; line-height: 1.25 }
p { margin: 0 0 1rem }
dl { margin: 1.5rem 0 0; padding-top: 1rem; border-top: 1px solid var(--edge); font-size: .875rem; color: var(--soft) }
dt { float: left; clear: left; width: 6rem }
dd { margin: 0 0 0 6rem; overflow-wrap: anywhere }
</style>
</head>
<body>
<main>
<h1>%s</h1>
<p>%s</p>
]]

local ENTITIES = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;', ["'"] = '&#39;' }

local function escape(text) return (text:gsub('[&<>"\']', ENTITIES)) end

local function html(page)
  local out = { HEAD:format(escape(page.title), escape(page.title), escape(page.text)) }
  if page.detail then out[#out + 1] = '<p>' .. escape(page.detail) .. '</p>\n' end
  if page.since then
    out[#out + 1] = ('<p>Offline since <time datetime="%s">%s</time> (for %s).</p>\n'):format(
      clock.iso(page.since),
      clock.text(page.since),
      clock.duration(clock.now_ms() - page.since)
    )
  end
  out[#out + 1] = '<dl>\n'
  if page.host then out[#out + 1] = '<dt>Address</dt><dd>' .. escape(page.host) .. '</dd>\n' end
  if page.status >= 400 then out[#out + 1] = '<dt>Reason</dt><dd>' .. page.status .. ' ' .. page.code .. '</dd>\n' end
  out[#out + 1] = '<dt>Request</dt><dd>' .. page.visitor .. '</dd>\n</dl>\n</main>\n</body>\n</html>\n'
  return table.concat(out)
end

local function as_json(page)
  return json.object({
    { 'code', page.code },
    { 'message', page.detail or page.text },
    { 'since', page.since and clock.iso(page.since) },
    { 'offline_ms', page.since and math.max(0, clock.now_ms() - page.since) },
    { 'retry_after', page.retry_after },
    { 'visitor', page.visitor },
  }) .. '\n'
end

--- The weight that an Accept header gives to JSON and to HTML by name; wildcards say nothing about either.
local function weights(accept)
  local best = { json = 0, html = 0 }
  for item in accept:lower():gmatch('[^,]+') do
    local kind = item:match('^%s*([^;%s]+)')
    local q = tonumber(item:match(';%s*q=([%d.]+)') or '1') or 0
    if kind == 'application/json' or (kind and kind:find('^application/[%w.-]+%+json$')) then best.json = math.max(best.json, q) end
    if kind == 'text/html' or kind == 'application/xhtml+xml' then best.html = math.max(best.html, q) end
  end
  return best
end

--- Does the request at hand prefer JSON to HTML?
function M.prefers_json()
  local best = weights(ngx.var.http_accept or '')
  return best.json > best.html
end

--- The page of a code: {status, headers, body}. opts: since (ms), detail (one more sentence), host, json (default: by
--- Accept). Codes without a text become `internal`.
function M.make(code, opts)
  opts = opts or {}
  if not texts[code] then code = 'internal' end
  local text = texts[code]
  local page = {
    code = code,
    status = text.status,
    title = text.title,
    text = text.text,
    detail = opts.detail,
    since = opts.since,
    host = opts.host,
    visitor = ngx.var.request_id,
    retry_after = text.retry_after and math.random(text.retry_after[1], text.retry_after[2]),
  }
  local wants_json = opts.json
  if wants_json == nil then wants_json = M.prefers_json() end
  local body = wants_json and as_json(page) or html(page)
  return {
    status = page.status,
    body = body,
    headers = {
      ['Content-Type'] = wants_json and 'application/json' or 'text/html; charset=utf-8',
      ['Content-Length'] = #body,
      ['Content-Security-Policy'] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      ['X-Content-Type-Options'] = 'nosniff',
      ['Cache-Control'] = 'no-store',
      ['Vary'] = 'Accept',
      ['Retry-After'] = page.retry_after,
    },
  }
end

--- Answers the request at hand with the page of a code and ends it.
function M.send(code, opts)
  local page = M.make(code, opts)
  ngx.var.culvert_outcome = code
  ngx.status = page.status
  for name, value in pairs(page.headers) do ngx.header[name] = value end
  ngx.req.discard_body() -- or its bytes could be taken for the next request
  ngx.print(page.body)
  return ngx.exit(ngx.HTTP_OK)
end

return M
