-- Private routes. Whether a device's pages are private, and which grants open them, is operators' data in the store:
--
--   kept:access:<device>.<port>     value {"private":true|false} of one endpoint; without it
--   kept:access:<device>            the same of all; without it the setting decides
--   kept:grant:<device>.<digest>    value {"enter_by"?,"host"?}, expires_at; digest: SHA-256 of the link's token
--
-- A visitor with the link of a grant gets a cookie for this very host. It holds the digest and our own signature over host
-- and digest, never the token: neither a cookie that is made up nor a link that was meant for one use opens anything. The
-- grant itself is looked at with every request.

local cache = require('culvert.cache')
local clock = require('culvert.clock')
local ffi = require('ffi')
local kept = require('culvert.kept')
local pages = require('culvert.pages')
local redis = require('culvert.redis')
local settings = require('culvert.settings')

ffi.cdef([[unsigned char *SHA256(const unsigned char *d, size_t n, unsigned char *md);]])

local OURS = '/.culvert/'
local ENTRANCE = OURS .. 'grant'
-- With the prefix browsers take it by TLS only, for this host only.
local SECURE_COOKIE, COOKIE = '__Host-culvert-grant', 'culvert-grant'
-- Other hosts of the domain may set cookies of that name for all hosts: ours may stand behind them.
local MOST_COOKIES = 8
-- How long a used link is remembered beyond its time, as edges' clocks may differ.
local CLOCKS_APART_MS = 60000
local TOKEN = '^cvg_[A-Za-z0-9_-]+_[0-9a-z]+$'
local TOKEN_LENGTH = 55

local M = {}

local function sha256_hex(text)
  local digest = ffi.new('unsigned char[32]')
  ffi.C.SHA256(text, #text, digest)
  return (ffi.string(digest, 32):gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

local function signature(host, digest)
  return ngx.encode_base64(ngx.hmac_sha1(settings.edge_secret, 'grant ' .. host .. ' ' .. digest), true)
    :gsub('+', '-'):gsub('/', '_')
end

local function load(key)
  local value, more = kept.read(key)
  if value == nil then return nil, more end
  if key:find('^access ') then
    -- That nothing is said is kept as long as what is said: pages must not close because Redis is away.
    if not value then return 'default' end
    return value.private == true and 'private' or 'public'
  end
  if not value then return false end
  if not more then return nil, key .. ' has no end' end
  return ('%d %d %s'):format(more, tonumber(value.enter_by) or 0, type(value.host) == 'string' and value.host or '')
end

local known

local function store()
  known = known or cache.new({
    values = 'culvert_access',
    misses = 'culvert_misses',
    age_ms = settings.route_age_ms,
    stale_ms = settings.route_stale_ms,
    load = load,
  })
  return known
end

--- {expires_at, enter_by} of a grant that is good for `host` now; false when there is none; nil and an error.
local function find_grant(device, digest, host)
  local text, err = store():get('grant ' .. device .. '.' .. digest)
  if not text then return text, err end
  local expires_at, enter_by, only = text:match('^(%d+) (%d+) (.*)$')
  expires_at = tonumber(expires_at)
  if expires_at <= clock.now_ms() or (only ~= '' and only ~= host) then return false end
  return { expires_at = expires_at, enter_by = tonumber(enter_by) }
end

local function is_private(device, port)
  local text, err = 'default', nil
  if port and port ~= '' then text, err = store():get('access ' .. device .. '.' .. port) end
  if text == 'default' then text, err = store():get('access ' .. device) end
  if not text then return nil, err end
  if text == 'default' then text = settings.access end
  return text == 'private'
end

--- Are the device's pages private? nil and an error when that is not known.
M.is_private = is_private

--- Is one of the visitor's cookies that of a grant for this device? nil when that is not known.
local function admits(host, device)
  local cookies, n = ngx.var.http_cookie or '', 0
  for name, digest, given in cookies:gmatch('([%w_-]+)=(%x+)%.([%w_-]+)') do
    if (name == SECURE_COOKIE or name == COOKIE) and #digest == 64 and n < MOST_COOKIES then
      n = n + 1
      -- Compared by digests: how much of it was right cannot be told from the time it took.
      if ngx.sha1_bin(given) == ngx.sha1_bin(signature(host, digest)) then
        local grant, err = find_grant(device, digest, host)
        if grant == nil then return nil, err end
        if grant then return true end
      end
    end
  end
  return false
end

--- Takes our cookies out of what the device gets to see.
local function hide_cookies()
  local cookies = ngx.var.http_cookie
  if not cookies or not cookies:find('culvert-grant', 1, true) then return end
  local kept = {}
  for pair in cookies:gmatch('[^;]+') do
    local name = pair:match('^%s*([^=%s]*)')
    if name ~= SECURE_COOKIE and name ~= COOKIE then kept[#kept + 1] = pair:match('^%s*(.-)%s*$') end
  end
  if #kept == 0 then return ngx.req.clear_header('Cookie') end
  ngx.req.set_header('Cookie', table.concat(kept, '; '))
end

--- Where a link leads to on its host: a path, never another host.
local function destination(to)
  if type(to) ~= 'string' or not to:find('^/[^/\\]') or #to > 2048 or to:find('[%c\\]') then return '/' end
  return to
end

local function see_other(to)
  ngx.status = 303
  ngx.header['Location'] = to
  ngx.header['Referrer-Policy'] = 'no-referrer'
  ngx.header['Cache-Control'] = 'no-store'
  ngx.header['Content-Length'] = 0
  ngx.req.discard_body()
  ngx.send_headers()
  return ngx.exit(ngx.HTTP_OK)
end

local function forbid(detail)
  ngx.header['Referrer-Policy'] = 'no-referrer'
  return pages.send('forbidden', { detail = detail })
end

local function unknown(host, err)
  ngx.log(err == 'away' and ngx.INFO or ngx.WARN, 'access to ', host, ' is not known: ', err)
  return pages.send('unavailable', { host = host })
end

--- The first use of a link that is meant for one, of all edges? nil when that is not known; the link is then used up, or not.
local function is_first_use(digest, enter_by)
  local keep_ms = math.max(1, enter_by - clock.now_ms()) + CLOCKS_APART_MS
  local reply, err = redis.run(function(red)
    local set, why = red:set('entered:' .. digest, '1', 'NX', 'PX', keep_ms)
    return set == ngx.null and 'used' or set, why
  end)
  if not reply then return nil, err end
  return reply ~= 'used'
end

--- A visitor with the link of a grant.
local function enter(host, device)
  local args = ngx.req.get_uri_args(8)
  local token, to = args.t, destination(args.to)
  if type(token) ~= 'string' or #token ~= TOKEN_LENGTH or not token:find(TOKEN) then
    return forbid('The link is not complete; open it as it was given to you.')
  end
  local digest = sha256_hex(token)
  local grant, err = find_grant(device, digest, host)
  if grant == nil then return unknown(host, err) end
  local over = not grant or (grant.enter_by > 0 and grant.enter_by <= clock.now_ms())
  if ngx.req.get_method() ~= 'GET' then return forbid() end -- a preview must not use it up
  if not over and grant.enter_by > 0 then
    local first
    first, err = is_first_use(digest, grant.enter_by)
    if first == nil then return unknown(host, err) end
    over = not first
  end
  if over then
    return forbid('The link has run out, was used or was withdrawn; ask for a new one.')
  end
  local secure = ngx.var.https == 'on'
  ngx.header['Set-Cookie'] = ('%s=%s.%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%s'):format(
    secure and SECURE_COOKIE or COOKIE,
    digest,
    signature(host, digest),
    math.max(1, math.floor((grant.expires_at - clock.now_ms()) / 1000)),
    secure and '; Secure' or ''
  )
  ngx.var.culvert_outcome = 'granted'
  return see_other(to)
end

--- Lets the request at hand pass, to the device of its host, or answers it. Nothing is said here of whether the device is
--- there; `uri` is the path it asks for. Returns true when it may pass.
function M.check(host, device, port, uri, has_cookies)
  local private, err = is_private(device, port)
  if private == nil then return unknown(host, err) end
  if uri:sub(1, #OURS) == OURS then
    if uri ~= ENTRANCE then return pages.send('not_found', { host = host }) end
    if private then return enter(host, device) end
    return see_other(destination(ngx.req.get_uri_args(8).to))
  end
  if private then
    local admitted
    admitted, err = admits(host, device)
    if admitted == nil then return unknown(host, err) end
    if not admitted then return forbid() end
  end
  if has_cookies then hide_cookies() end
  return true
end

--- Forgets a record that has changed; `key` is `<collection> <id>`.
function M.drop(key) store():drop(key) end

return M
