-- Rows, what they take, and the members of the one that was created first and of the last one.
if not is_this_generation() then
    return { OTHER_GENERATION }
end
local told = totals_if_whole()
if not told then
    return { LOST }
end
local entries, _, bytes = totals_in(told)
local first = redis.call('ZRANGEBYLEX', orders, '[c', '(d', 'LIMIT', 0, 1)
local last = redis.call('ZREVRANGEBYLEX', orders, '(d', '[c', 'LIMIT', 0, 1)
return { DONE, integer(entries), integer(bytes), first[1] or false, last[1] or false }
