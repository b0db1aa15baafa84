-- Remembers what a function of one string has said: the same few host and header names come with every request.

local M = {}

--- A function like `f` of one string, which returns one value that is never nil. Keeps up to `most` answers, then starts anew.
function M.of(f, most)
  local known, n = {}, 0
  return function(key)
    local value = known[key]
    if value == nil then
      if n >= most then
        known, n = {}, 0
      end
      value = f(key)
      known[key] = value
      n = n + 1
    end
    return value
  end
end

return M
