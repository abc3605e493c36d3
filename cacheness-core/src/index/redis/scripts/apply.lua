-- Makes changes, each of which follows from what the ones before it have left. Where the server has no room, it does not run this at
-- all, and nothing is changed; removals need none, and are let through. ARGV: 2 the writer, 16 digits; then of each change, 6 in all, its
-- key; what is expected, `any`, `absent` or `bytes`, and those; the last use that its handle knows of, or nothing; the facts of the
-- new row, or nothing; its bytes.
-- Returns what all rows take now, and of each change whether it was made, whether others may remember a row that was there a moment
-- ago, whether the server had evicted it, and the row that it took out.
local writer, EACH = ARGV[2], 6
local REMEMBERED, FORGET_EVERY = 4096, 512
-- By then a change is acknowledged, unless its process was stopped.
local UNSETTLED_MICROS, MOST_LOOKED_AT, PIECE = 1000000, 1024, 128

local now
local function the_time()
    if not now then
        local time = redis.call('TIME')
        now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    end
    return now
end

-- Keys of which other handles have taken rows out lately, or whether there may be more than were looked at. They are looked for once.
local taken_lately, are_more
local function look_for_taken()
    taken_lately, are_more = {}, false
    for first = 1, MOST_LOOKED_AT, PIECE do
        local noted = redis.call('LRANGE', changes, -(first + PIECE - 1), -first)
        for at = #noted, 1, -1 do
            local note = noted[at]
            if string.sub(note, 17, 17) == '1' then
                if now - tonumber(string.sub(note, 18, 33)) > UNSETTLED_MICROS then
                    return
                end
                if string.sub(note, 1, 16) ~= writer then
                    taken_lately[string.sub(note, 34)] = true
                end
            end
        end
        if #noted < PIECE then
            return
        end
    end
    -- To wait is right in any case.
    are_more = true
end

-- Whether another handle has taken out a row of this key so lately that others may not have heard of it.
local function is_unsettled(key, taken)
    if taken == 0 or the_time() - taken > UNSETTLED_MICROS then
        return 0
    end
    if not taken_lately then
        look_for_taken()
    end
    return (taken_lately[key] or are_more) and 1 or 0
end

local function change(key, expected, wanted, use, facts, row)
    local found = redis.call('MGET', base, row_name(key))
    if found[1] ~= generation then
        return OTHER_GENERATION
    end
    local before = found[2]
    local told = redis.call('HMGET', facts_name, TOTALS, 'r' .. key)
    local old = told[2]
    if not told[1] or (before and not old) then
        return LOST
    end
    local entries, places, bytes, taken, number = totals_in(told[1])
    local unsettled = before and 0 or is_unsettled(key, taken)
    local evicted = (old and not before) and 1 or 0
    if (expected == 'absent' and before) or (expected == 'bytes' and before ~= wanted) then
        if before then
            unsettled = is_unsettled(key, taken)
        end
        return DONE, bytes, 0, unsettled, 0, false
    end
    if facts == '' and not old then
        return DONE, bytes, 1, unsettled, 0, false
    end

    local gone, added = {}, {}
    if old then
        gone = places_of(old, key)
        entries, places, bytes = entries - 1, places - #gone, bytes - footprint_of(old)
    end
    if facts == '' then
        redis.call('DEL', row_name(key))
        redis.call('HDEL', facts_name, 'r' .. key)
    else
        if before and created_of(old) == created_of(facts) then
            -- The same value.
            facts = with_use(facts, use ~= '' and use or used_of(old))
        end
        added = places_of(facts, key)
        entries, places, bytes = entries + 1, places + #added, bytes + footprint_of(facts)
        redis.call('SET', row_name(key), row)
    end
    local stays = {}
    for _, member in ipairs(added) do
        stays[member] = true
    end
    local leaves = {}
    for _, member in ipairs(gone) do
        if not stays[member] then
            leaves[#leaves + 1] = member
        end
    end
    take_places(leaves)
    add_places(added)
    number = number + 1
    if before then
        taken = the_time()
    end
    local all = totals_of(entries, places, bytes, taken, number)
    if facts == '' then
        redis.call('HSET', facts_name, TOTALS, all)
    else
        redis.call('HSET', facts_name, TOTALS, all, 'r' .. key, facts)
    end
    redis.call('RPUSH', changes, writer .. (before and '1' or '0') .. string.format('%016.0f', now or 0) .. key)
    if number % FORGET_EVERY == 0 then
        redis.call('LTRIM', changes, -REMEMBERED, -1)
    end
    return DONE, bytes, 1, unsettled, evicted, before
end

local answer = { DONE, false }
for first = 3, #ARGV, EACH do
    local state, bytes, made, unsettled, evicted, before = change(unpack(ARGV, first, first + EACH - 1))
    if state ~= DONE then
        return { state }
    end
    answer[2] = integer(bytes)
    for _, told in ipairs({ made, unsettled, evicted, before }) do
        answer[#answer + 1] = told
    end
end
return answer
