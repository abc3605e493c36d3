-- Notes when rows were used. ARGV from 2 on: a key and a time, 8 bytes that sort, and so on; a few hundred at most.
if not is_this_generation() then
    return { OTHER_GENERATION }
end
local fields = {}
for at = 2, #ARGV, 2 do
    fields[#fields + 1] = 'r' .. ARGV[at]
end
local found = redis.call('HMGET', facts_name, unpack(fields))
local noted, gone, added = {}, {}, {}
for at, facts in ipairs(found) do
    local key, used = ARGV[2 * at], ARGV[2 * at + 1]
    -- A use from before the creation was one of another value of this key.
    if facts and not is_before(used, created_of(facts)) and is_before(used_of(facts), used) then
        local after = with_use(facts, used)
        noted[#noted + 1] = fields[at]
        noted[#noted + 1] = after
        gone[#gone + 1] = use_member(facts, key)
        added[#added + 1] = use_member(after, key)
    end
end
if #noted > 0 then
    redis.call('HSET', facts_name, unpack(noted))
    take_places(gone)
    add_places(added)
end
return { DONE }
