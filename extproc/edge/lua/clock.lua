-- units: milliseconds since the Unix epoch, whole; duty: the one clock of every script, Redis's own
local function clock_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
