-- Settings, read once by the master before it forks: plain ones from nginx.conf, secrets from the environment.

local M = {}

local function unescape(text)
  return (text:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

--- redis://[user][:password]@host[:port][/db] to {host, port, user, password, db}; nil and what is wrong.
function M.parse_redis_url(url)
  local rest = url:match('^redis://(.+)$')
  if not rest then return nil, 'CULVERT_REDIS_URL must begin with redis://' end
  local authority, db = rest:match('^([^/?#]+)/?(%d*)$')
  if not authority then return nil, 'CULVERT_REDIS_URL must be redis://[user:password@]host[:port][/db]' end
  local user, password
  local credentials, address = authority:match('^(.*)@([^@]+)$')
  if credentials then
    user, password = credentials:match('^([^:]*):?(.*)$')
  end
  address = address or authority
  local host, port = address:match('^%[(.+)%]:?(%d*)$')
  if not host then host, port = address:match('^([^:]+):?(%d*)$') end
  if not host then return nil, 'CULVERT_REDIS_URL names no host' end
  if host == 'localhost' then host = '127.0.0.1' end -- nginx resolves names by DNS only
  if host:find(':', 1, true) then host = '[' .. host .. ']' end
  return {
    host = host,
    port = tonumber(port) or 6379,
    user = user ~= nil and user ~= '' and unescape(user) or nil,
    password = password ~= nil and password ~= '' and unescape(password) or nil,
    db = tonumber(db) or 0,
  }
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
