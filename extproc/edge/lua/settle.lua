-- units: tokens, milliseconds; duty: replace what a reservation holds by what was used, at most once
-- ARGV: forget_expired_after, reservation, tokens, forget_settled_after, then the window of each limit
-- gives: charged, refunded; of the first settlement where there was one before
local id, tokens, forget_settled_after = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local LIMITS_FROM = 5

local account = load_account(tonumber(ARGV[1]))
know_windows(account, LIMITS_FROM, 1)
reap(account)

local kind, first, second = find(account, id)
if kind == 'settled' then
  save(account, forget_settled_after)
  return {first, second}
end

local reserved = first or 0
if kind == 'expired' and tokens <= reserved then
  -- It was charged in full when its lease ran out: give back there what was too much.
  charge(account, tokens - reserved, second)
elseif kind == 'expired' then
  charge(account, tokens - reserved, account.now)
else
  -- Open, or unknown (an orphan: Redis lost it, or the reservation never came): charged now.
  if kind == 'open' then hold(account, -reserved) end
  charge(account, tokens, account.now)
end
local refunded = math.max(reserved - tokens, 0)
book(account, id, 'settled ' .. whole(tokens) .. ' ' .. whole(refunded), account.now + forget_settled_after)
save(account, forget_settled_after)
return {tokens, refunded}
