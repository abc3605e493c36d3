-- The next rows of an order. ARGV: 2 and 3 the ends between which their members lie, 4 `up` or `down`, 5 the bytes of a
-- member before its key, 6 how many rows, 7 `rows` or `keys`. Rows that the server has evicted are taken out of all orders.
-- Returns whether this is the end, the last member, how many rows were evicted, and of each row its key, or its key, bytes
-- and last use.
local down, prefix, wanted, with_rows = ARGV[4] == 'down', tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == 'rows'
local MOST_FORGOTTEN = 1000

if not is_this_generation() then
    return { OTHER_GENERATION }
end
if not totals_if_whole() then
    return { LOST }
end
local from, to = ARGV[2], ARGV[3]
local rows, found, evicted, last, ended = {}, 0, 0, false, 0
while found < wanted and evicted < MOST_FORGOTTEN do
    local members
    if down then
        members = redis.call('ZREVRANGEBYLEX', orders, from, to, 'LIMIT', 0, wanted - found)
    else
        members = redis.call('ZRANGEBYLEX', orders, from, to, 'LIMIT', 0, wanted - found)
    end
    if #members < wanted - found then
        ended = 1
    end
    for _, member in ipairs(members) do
        local key = string.sub(member, prefix + 1)
        local facts = redis.call('HGET', facts_name, 'r' .. key)
        if not facts then
            return { LOST }
        end
        local bytes
        if with_rows then
            bytes = redis.call('GET', row_name(key))
        else
            bytes = redis.call('EXISTS', row_name(key)) == 1
        end
        if not bytes then
            forget(facts, key)
            evicted = evicted + 1
        else
            found = found + 1
            rows[#rows + 1] = key
            if with_rows then
                local used = used_of(facts)
                rows[#rows + 1] = bytes
                rows[#rows + 1] = used ~= UNUSED and used
            end
        end
        last = member
    end
    if ended == 1 then
        break
    end
    from = '(' .. last
end
return { DONE, ended, last, evicted, rows }
