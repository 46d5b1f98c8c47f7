-- units: tokens, milliseconds; duty: hold tokens against every limit of a tenant, or against none
-- ARGV: forget_expired_after, reservation, tokens, lease, then window, limit for each limit
-- gives: granted (1|0), which limit (from 0), remaining, retry after, reset after (retry 0: can never fit)
local id, tokens, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local LIMITS_FROM = 5

-- A window counts what its bucket has, what is held, and the part of the bucket before that still lies in it.
local function remaining_of(account, duration, limit)
  local window = account.windows[duration]
  local left = math.min((window.bucket + 1) * duration - account.now, duration)
  local carried = math.ceil(window.before * left / duration)
  return limit - carried - window.used - account.held
end

-- The first moment at which the request fits if all that is held comes back and nothing else is asked.
local function wait_of(account, duration, limit)
  local window = account.windows[duration]
  local left = (window.bucket + 1) * duration - account.now
  local room = limit - tokens - window.used
  if room >= 0 then
    if window.before == 0 then return 1 end
    return math.max(math.ceil(left - room * duration / window.before), 1)
  end
  return left + math.max(math.ceil(duration - (limit - tokens) * duration / window.used), 0)
end

-- When the window is empty again if all that is held is charged now and nothing else is asked.
local function reset_of(account, duration)
  local window = account.windows[duration]
  local left = (window.bucket + 1) * duration - account.now
  if window.used + account.held > 0 then return left + duration end
  if window.before > 0 then return left end
  return 0
end

local account = load_account(tonumber(ARGV[1]))
know_windows(account, LIMITS_FROM, 2)
reap(account)

local kind, held = find(account, id)
if kind and not (kind == 'open' and held == tokens) then
  save(account, lease)
  return redis.error_reply('HGCLOSED the reservation was closed before, or holds another amount')
end

local denied, denied_wait, tightest, tightest_left
for i = LIMITS_FROM, #ARGV, 2 do
  local duration, limit = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local left = remaining_of(account, duration, limit)
  if not kind and tokens > left then
    local wait = math.huge
    if tokens <= limit then wait = wait_of(account, duration, limit) end
    if not denied or wait > denied_wait then denied, denied_wait = i, wait end
  end
  if not tightest or left < tightest_left then tightest, tightest_left = i, left end
end

local stands = denied or tightest
local duration, limit = tonumber(ARGV[stands]), tonumber(ARGV[stands + 1])
if not denied and not kind then
  hold(account, tokens)
  book(account, id, 'open ' .. whole(tokens), account.now + lease)
end
save(account, lease)
if denied_wait == math.huge then denied_wait = 0 end
return {
  denied and 0 or 1, (stands - LIMITS_FROM) / 2, math.max(remaining_of(account, duration, limit), 0),
  denied_wait or 0, reset_of(account, duration),
}
