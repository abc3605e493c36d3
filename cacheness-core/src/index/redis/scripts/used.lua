-- Notes when rows were used. ARGV from 2 on: a key and a time, 8 bytes that sort, and so on.
if not is_this_generation() then
    return { OTHER_GENERATION }
end
for at = 2, #ARGV, 2 do
    local key, used = ARGV[at], ARGV[at + 1]
    local facts = redis.call('HGET', facts_name, key)
    -- A use from before the creation was one of another value of this key.
    if facts and not is_before(used, created_of(facts)) and is_before(used_of(facts), used) then
        local before, after = use_member(facts, key), with_use(facts, used)
        redis.call('HSET', facts_name, key, after)
        redis.call('ZREM', orders, before)
        redis.call('ZADD', orders, 0, use_member(after, key))
    end
end
return { DONE }
