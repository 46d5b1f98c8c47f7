-- units: milliseconds; duty: extend the lease of an open reservation
-- ARGV: forget_expired_after, reservation, lease
-- gives: 1 where it is held, 0 where the lease had run out, was settled or is unknown
local id, lease = ARGV[2], tonumber(ARGV[3])

local account = load_account(tonumber(ARGV[1]))
reap(account)
local kind, tokens = find(account, id)
if kind == 'open' then
  book(account, id, 'open ' .. whole(tokens), account.now + lease)
end
save(account, lease)
return kind == 'open' and 1 or 0
