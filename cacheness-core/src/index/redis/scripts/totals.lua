-- Rows, what they take, and the members of the one that was created first and of the last one.
if not is_this_generation() then
    return { OTHER_GENERATION }
end
if not is_whole() then
    return { LOST }
end
local told = redis.call('HMGET', totals, 'entries', 'bytes')
local first = redis.call('ZRANGEBYLEX', orders, '[c', '(d', 'LIMIT', 0, 1)
local last = redis.call('ZREVRANGEBYLEX', orders, '(d', '[c', 'LIMIT', 0, 1)
return { DONE, told[1], told[2], first[1] or false, last[1] or false }
