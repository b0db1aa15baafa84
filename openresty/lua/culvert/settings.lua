-- Settings, read once by the master before it forks: plain ones from nginx.conf, secrets from the environment.

local M = {}

local function unescape(text)
  return (text:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

--- host[:port] as nginx connects to it; nil when there is no host.
local function address_of(text, default_port)
  local host, port = text:match('^%[(.+)%]:?(%d*)$')
  if not host then host, port = text:match('^([^:]+):?(%d*)$') end
  if not host then return nil end
  if host == 'localhost' then host = '127.0.0.1' end -- nginx resolves names by DNS only
  if host:find(':', 1, true) then host = '[' .. host .. ']' end
  return { host = host, port = tonumber(port) or default_port }
end

local function credentials_of(authority)
  local credentials, address = authority:match('^(.*)@([^@]+)$')
  if not credentials then return authority end
  local user, password = credentials:match('^([^:]*):?(.*)$')
  return address, user ~= '' and unescape(user) or nil, password ~= '' and unescape(password) or nil
end

local function parse_sentinels(rest)
  local authority, name = rest:match('^([^/?#]+)/([%w._-]+)$')
  if not authority then
    return nil, 'CULVERT_REDIS_URL must be redis+sentinel://[user:password@]host[:port],host[:port].../<name of the primary>'
  end
  local addresses, user, password = credentials_of(authority)
  local sentinels = {}
  for one in addresses:gmatch('[^,]+') do
    sentinels[#sentinels + 1] = address_of(one, 26379)
  end
  if #sentinels == 0 then return nil, 'CULVERT_REDIS_URL names no host' end
  return { sentinels = sentinels, name = name, user = user, password = password, db = 0 }
end

--- redis://[user][:password]@host[:port][/db] to {host, port, user, password, db}, and
--- redis+sentinel://[user][:password]@host[:port],host[:port].../name to {sentinels, name, user, password, db}; nil and
--- what is wrong.
function M.parse_redis_url(url)
  local rest = url:match('^redis%+sentinel://(.+)$')
  if rest then return parse_sentinels(rest) end
  rest = url:match('^redis://(.+)$')
  if not rest then return nil, 'CULVERT_REDIS_URL must begin with redis:// or redis+sentinel://' end
  local authority, db = rest:match('^([^/?#]+)/?(%d*)$')
  if not authority then return nil, 'CULVERT_REDIS_URL must be redis://[user:password@]host[:port][/db]' end
  local address, user, password = credentials_of(authority)
  local at = address_of(address, 6379)
  if not at then return nil, 'CULVERT_REDIS_URL names no host' end
  at.user, at.password, at.db = user, password, tonumber(db) or 0
  return at
end

--- Fills this very table, so that other modules read `settings.domain` and the like.
function M.load(plain)
  for name, value in pairs(plain) do M[name] = value end
  local redis, fault = M.parse_redis_url(os.getenv('CULVERT_REDIS_URL') or '')
  if not redis then error(fault) end
  M.redis = redis
  M.edge_secret = os.getenv('CULVERT_EDGE_SECRET') or ''
  if #M.edge_secret < 16 then error('CULVERT_EDGE_SECRET must have at least 16 characters') end
end

return M
