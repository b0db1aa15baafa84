-- The certificate of a TLS handshake, chosen at run time by the name that the client asks for (SNI):
--
--   a name of the wildcard domain --> cert:*.<domain> of Redis, if there is one: a renewal that needs no reload
--   any other name ---------------> kept:domain:<name> of Redis: a device's own domain
--   no name, none kept, nobody knows --> the certificate of the files, which nginx has loaded itself

local cache = require('culvert.cache')
local domains = require('culvert.domains')
local expiry = require('culvert.expiry')
local host = require('culvert.host')
local lrucache = require('resty.lrucache')
local rates = require('culvert.rates')
local redis = require('culvert.redis')
local settings = require('culvert.settings')
local ssl = require('ngx.ssl')

-- Changes are announced; this is for the ones that were not heard.
local AGE_MS = 60000
-- Redis being away must not take the certificates away.
local STALE_MS = 24 * 3600 * 1000
-- Parsed ones kept by each worker; parsing costs about as much as the rest of a resumed handshake.
local parsed = lrucache.new(256)

local M = {}

--- When the certificate of the files ends, which nginx reads at this moment, too; nil without TLS.
local function end_of_files()
  local path = settings.tls_certificate
  if not path then return nil end
  local file, err = io.open(path)
  local pem = file and file:read('*a')
  if file then file:close() end
  local ends
  if pem then ends, err = expiry.of(pem) end
  if not ends then
    ngx.log(ngx.WARN, 'it is not known when the certificate ', path, ' ends: ', err)
  elseif ends <= ngx.time() then
    ngx.log(ngx.WARN, 'the certificate ', path, ' has ended at ', ngx.http_time(ends), ' and is served all the same')
  end
  return ends
end

local files_end = end_of_files()

local DOMAIN = '^domain (.+)$'

--- `key` is `cert:<name>` or `domain <name>`; as key of the cache it must differ from that of a route.
local function load(key)
  local name, lost = key:match(DOMAIN), nil
  local found, err = redis.run(function(red)
    if not name then
      local reply, why = red:hmget(key, 'chain', 'key')
      return reply and { chain = reply[1], key = reply[2] }, why
    end
    local domain, why = domains.read(red, name)
    if domain == nil then return nil, why end
    lost = not domain and redis.has_lost_all(red)
    return domain and domain.certificate or {}
  end)
  if not found then return nil, err end
  if lost then return nil, 'recovering' end
  if type(found.chain) ~= 'string' or type(found.key) ~= 'string' then return false end
  return #found.chain .. '\n' .. found.chain .. found.key
end

local known

local function store()
  known = known or cache.new({
    values = 'culvert_certificates',
    misses = 'culvert_misses',
    age_ms = AGE_MS,
    miss_ms = settings.route_age_ms,
    stale_ms = STALE_MS,
    load = load,
  })
  return known
end

local function parse(text)
  local found = parsed:get(text)
  if found then return found end
  local length, rest = text:match('^(%d+)\n(.*)$')
  length = tonumber(length)
  local pem = rest:sub(1, length)
  local chain, err = ssl.parse_pem_cert(pem)
  if not chain then return nil, err end
  local key
  key, err = ssl.parse_pem_priv_key(rest:sub(length + 1))
  if not key then return nil, err end
  found = { chain = chain, key = key, ends = expiry.of(pem) }
  parsed:set(text, found)
  return found
end

--- The key under which a certificate for `sni` is kept; nil when none can be.
local function kept_as(sni)
  local kind, name = host.classify(sni)
  if kind == 'device' or kind == 'apex' then return 'cert:*.' .. settings.domain end
  return kind == 'other' and 'domain ' .. name or nil
end

--- The phase ssl_certificate_by_lua. Whatever fails leaves the certificate of the files in place.
function M.choose()
  -- Sessions that are resumed, which cost little, do not come by here.
  if rates.takes_too_many('handshakes', ssl.raw_client_addr()) then return ngx.exit(ngx.ERROR) end
  local sni = ssl.server_name()
  local name = sni and kept_as(sni)
  if not name then return end
  local text, err = store():get(name)
  if not text then
    if err and err ~= 'away' then ngx.log(ngx.WARN, 'the certificate of ', name, ' is not known: ', err) end
    return
  end
  local found
  found, err = parse(text)
  if not found then return ngx.log(ngx.ERR, 'the certificate of ', name, ' cannot be used: ', err) end
  local ok
  ok, err = ssl.clear_certs()
  if ok then
    ok, err = ssl.set_cert(found.chain)
  end
  if ok then
    ok, err = ssl.set_priv_key(found.key)
  end
  if not ok then
    ngx.log(ngx.ERR, 'the certificate of ', name, ' cannot be set: ', err)
    return ngx.exit(ngx.ERROR) -- half of it is set: nothing that could be shown
  end
end

--- When the certificate ends that names of the domain are served with, as unix seconds, and whether it is from the `store` or the
--- `files`; nil without TLS, and where it is not known.
function M.ends()
  if not settings.tls_certificate then return nil end
  local text = store():get('cert:*.' .. settings.domain)
  local found = text and parse(text)
  if found and found.ends then return found.ends, 'store' end
  return files_end, 'files'
end

--- Forgets a certificate that has changed.
function M.drop(name)
  store():drop('cert:' .. name)
  store():drop('domain ' .. name)
end

return M
