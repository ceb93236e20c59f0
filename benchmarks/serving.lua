-- wrk's script: POST rows that are read from a file, a body a line.
--   wrk ... -s serving.lua URL -- FILE WAY START [KEY ...]
-- WAY is `same` (the first line only), `many` (lines drawn at random), `new` (drawn likewise, and no two requests alike:
-- #NUMBER# and #MOMENT# in a line are replaced from a count that begins at START).

local head, middle, tail, keys, whole = {}, {}, {}, {}, {}
local way, count

local function split(line)
   local before, between, after = line:match("^(.-)#NUMBER#(.-)#MOMENT#(.*)$")
   return before or line, between, after
end

function init(args)
   way, count = args[2], tonumber(args[3])
   for i = 4, #args do keys[#keys + 1] = "Bearer " .. args[i] end
   local n = 0
   for line in io.lines(args[1]) do
      n = n + 1
      head[n], middle[n], tail[n] = split(line)
      if way ~= "new" or not middle[n] then
         local body = middle[n] and head[n] .. middle[n] .. "00+00:00" .. tail[n] or line
         whole[n] = {}
         for k = 1, math.max(#keys, 1) do whole[n][k] = made(body, keys[k]) end
         head[n], middle[n], tail[n] = nil, nil, nil
      end
      if way == "same" then break end
   end
   math.randomseed(count)
end

function made(body, key)
   return wrk.format("POST", nil, { ["Content-Type"] = "application/json", ["Authorization"] = key }, body)
end

function request()
   local i = way == "same" and 1 or math.random(math.max(#whole, #head))
   count = count + 1
   local k = #keys > 0 and count % #keys + 1 or 1
   if whole[i] then return whole[i][k] end
   local moment = string.format("%02d:%02d.%03d000+00:00", count / 60000 % 60, count / 1000 % 60, count % 1000)
   return made(head[i] .. count .. middle[i] .. moment .. tail[i], keys[k])
end
