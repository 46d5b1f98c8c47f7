-- units: tokens, milliseconds; duty: one tenant's account, read whole before anything of it is written
-- KEYS[1] hash: 'held' -> tokens of open reservations; '<window ms>' -> '<bucket> <used> <used in the one before>'
-- KEYS[2] zset: reservation -> when its lease runs out or, once closed, when it is forgotten
-- KEYS[3] hash: reservation -> 'open <tokens>' | 'expired <tokens> <at>' | 'settled <charged> <refunded>'
local DUE_AT_ONCE_MAX = 64

local function whole(number)
  return string.format('%.0f', number)
end

local function broken()
  error('the account of a tenant is not as this version writes it')
end

local function load_window(account, duration, stored)
  local window = {bucket = math.floor(account.now / duration), used = 0, before = 0, ahead = false}
  if stored then
    local bucket, used, before = string.match(stored, '^(%d+) (%d+) (%d+)$')
    if not bucket then broken() end
    bucket = tonumber(bucket)
    if bucket >= window.bucket then
      -- Greater: the clock went back (a failover). What is charged stays charged until it catches up.
      window = {
        bucket = bucket, used = tonumber(used), before = tonumber(before), ahead = bucket > window.bucket,
      }
    elseif bucket == window.bucket - 1 then
      window.before = tonumber(used)
    end
  end
  account.windows[duration] = window
end

local function load_account(forget_expired_after)
  local account = {
    now = clock_ms(), held = 0, windows = {}, books = {}, forgotten = {}, changed = false,
    forget_expired_after = forget_expired_after,
  }
  local stored = redis.call('HGETALL', KEYS[1])
  for i = 1, #stored, 2 do
    if stored[i] == 'held' then
      account.held = tonumber(stored[i + 1]) or broken()
    else
      load_window(account, tonumber(stored[i]) or broken(), stored[i + 1])
    end
  end
  return account
end

local function know_windows(account, first, step)
  for i = first, #ARGV, step do
    local duration = tonumber(ARGV[i])
    if not account.windows[duration] then load_window(account, duration, nil) end
  end
end

-- Adds to (or with negative tokens takes from) the bucket in which `at` lies; what has left the window is gone.
local function charge(account, tokens, at)
  for duration, window in pairs(account.windows) do
    local bucket = math.floor(at / duration)
    if window.ahead or bucket >= window.bucket then
      window.used = math.max(window.used + tokens, 0)
    elseif bucket == window.bucket - 1 then
      window.before = math.max(window.before + tokens, 0)
    end
  end
  account.changed = true
end

local function hold(account, tokens)
  account.held = math.max(account.held + tokens, 0)
  account.changed = true
end

local function book(account, id, state, due)
  account.books[id] = {state = state, due = due}
  account.forgotten[id] = nil
  account.changed = true
end

local function split(state)
  local words = {}
  for word in string.gmatch(state, '%S+') do words[#words + 1] = word end
  return words[1], tonumber(words[2]), tonumber(words[3])
end

local function find(account, id)
  if account.forgotten[id] then return nil end
  local pending = account.books[id]
  local state = pending and pending.state or redis.call('HGET', KEYS[3], id)
  if not state then return nil end
  return split(state)
end

-- Closes leases that ran out, charging them in full at the moment they did; forgets what is long closed.
local function reap(account)
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(account.now), 'WITHSCORES', 'LIMIT', 0, DUE_AT_ONCE_MAX)
  for i = 1, #due, 2 do
    local id, at = due[i], tonumber(due[i + 1])
    local kind, tokens = find(account, id)
    if kind == 'open' then
      hold(account, -tokens)
      charge(account, tokens, at)
      book(account, id, 'expired ' .. whole(tokens) .. ' ' .. whole(at), at + account.forget_expired_after)
    else
      account.forgotten[id] = true
      account.changed = true
    end
  end
end

-- Everything was read, so no key of a wrong type is met here; the first write is one that Redis refuses
-- when it is out of memory. So either all of it is written or nothing. keep_ms: how long the youngest matters.
local function save(account, keep_ms)
  if not account.changed then return end
  local longest = 0
  local fields = {'held', whole(account.held)}
  for duration, window in pairs(account.windows) do
    longest = math.max(longest, duration)
    fields[#fields + 1] = whole(duration)
    fields[#fields + 1] = whole(window.bucket) .. ' ' .. whole(window.used) .. ' ' .. whole(window.before)
  end
  redis.call('HSET', KEYS[1], unpack(fields))
  for id, one in pairs(account.books) do
    redis.call('HSET', KEYS[3], id, one.state)
    redis.call('ZADD', KEYS[2], whole(one.due), id)
  end
  for id in pairs(account.forgotten) do
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[2], id)
  end
  -- Two windows after the last lease has run out, or closed reservation is forgotten, nothing counts any more.
  local live_ms = whole(keep_ms + account.forget_expired_after + 2 * longest)
  for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], live_ms) end
end
