-- JSON in the little that the edge needs: Debian's nginx comes without cjson.

local M = {}

local escapes = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }

local UNSAFE = '[%c"\\\127]'

local function escape(c) return escapes[c] or ('\\u%04x'):format(c:byte()) end

--- A string as JSON.
local function quote(text)
  return '"' .. (text:find(UNSAFE) and text:gsub(UNSAFE, escape) or text) .. '"'
end

M.quote = quote

--- Encodes a flat list of {name, value} pairs as an object; pairs whose value is nil are left out.
function M.object(pairs_list)
  local out = {}
  for _, pair in ipairs(pairs_list) do
    local value = pair[2]
    if type(value) == 'string' then
      out[#out + 1] = quote(pair[1]) .. ':' .. quote(value)
    elseif value ~= nil then
      out[#out + 1] = quote(pair[1]) .. ':' .. tostring(value)
    end
  end
  return '{' .. table.concat(out, ',') .. '}'
end

local unescapes = { b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }
local read_value

local function read_string(text, at)
  local out, from = {}, at + 1
  while true do
    local stop = text:find('["\\]', from)
    if not stop then error('unfinished string', 0) end
    out[#out + 1] = text:sub(from, stop - 1)
    if text:sub(stop, stop) == '"' then return table.concat(out), stop + 1 end
    local c = text:sub(stop + 1, stop + 1)
    if c == 'u' then
      local code = tonumber(text:sub(stop + 2, stop + 5), 16)
      -- Records of ours are ASCII; anything else only has to be survived.
      out[#out + 1] = code and code < 128 and string.char(code) or '?'
      from = stop + 6
    else
      out[#out + 1] = unescapes[c] or c
      from = stop + 2
    end
  end
end

local function read_members(text, at, close, read_one)
  local out = {}
  at = text:find('%S', at + 1)
  if at and text:sub(at, at) == close then return out, at + 1 end
  while at do
    at = read_one(out, at)
    local separator
    separator, at = text:match('^%s*([,%]}])()', at)
    if separator == close then return out, at end
    if separator ~= ',' then break end
    at = text:find('%S', at)
  end
  error('unfinished ' .. (close == '}' and 'object' or 'array'), 0)
end

local words = { ['true'] = true, ['false'] = false }

function read_value(text, at, depth)
  if depth > 16 then error('too deep', 0) end
  at = text:find('%S', at)
  local c = at and text:sub(at, at)
  if c == '"' then return read_string(text, at) end
  if c == '{' then
    return read_members(text, at, '}', function(out, from)
      if text:sub(from, from) ~= '"' then error('a name was expected', 0) end
      local name, after = read_string(text, from)
      local value_at = text:match('^%s*:()', after)
      if not value_at then error('a colon was expected', 0) end
      out[name], after = read_value(text, value_at, depth + 1)
      return after
    end)
  end
  if c == '[' then
    return read_members(text, at, ']', function(out, from)
      local value, after = read_value(text, from, depth + 1)
      out[#out + 1] = value
      return after
    end)
  end
  local word, after = text:match('^([%w%.+-]+)()', at or 1)
  if words[word] ~= nil then return words[word], after end
  if word == 'null' then return nil, after end
  local number = tonumber(word)
  if not number then error('a value was expected', 0) end
  return number, after
end

--- Decodes a text; nil and what is wrong with it. `null` members are absent.
function M.decode(text)
  local ok, value = pcall(read_value, text, 1, 0)
  if not ok then return nil, value end
  return value
end

return M
