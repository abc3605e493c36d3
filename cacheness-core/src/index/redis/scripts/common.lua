-- What all scripts share. KEYS[1] is the name of the generation, from which all other names are made: they have its hash
-- tag. ARGV[1] is the generation that the caller knows; in another one nothing of it is true any more.
--
-- Of a row there is its string, its facts in a hash, in a field of `r` and the key, and its places in one sorted set, whose members all have the score 0
-- and stand in the order of their bytes: `k` and the key; `c`, `u` and `e` with a time and the key; `g` with a group and
-- the key. Whatever the server has evicted of that shows in the totals, which are a field of the hash as well.
local base, generation = KEYS[1], ARGV[1]
local own = base .. ':' .. generation
local facts_name, orders, changes = own .. ':facts', own .. ':orders', own .. ':changes'

local OTHER_GENERATION, DONE, LOST = 0, 1, 2
-- Of facts: 16 digits of a footprint and whether it expires; creation, expiry and last use as 8 bytes that sort; groups,
-- 8 bytes each.
local UNUSED = string.rep('\0', 8)

local function row_name(key)
    return own .. ':row:' .. key
end

local function is_this_generation()
    return redis.call('GET', base) == generation
end

local function integer(number)
    return string.format('%.0f', number)
end

local function footprint_of(facts)
    return tonumber(string.sub(facts, 1, 16))
end

local function created_of(facts)
    return string.sub(facts, 18, 25)
end

local function used_of(facts)
    return string.sub(facts, 34, 41)
end

local function with_use(facts, used)
    return string.sub(facts, 1, 33) .. used .. string.sub(facts, 42)
end

-- Byte by byte: Lua compares strings by the rules of a language.
local function is_before(one, other)
    for at = 1, 8 do
        local a, b = string.byte(one, at), string.byte(other, at)
        if a ~= b then
            return a < b
        end
    end
    return false
end

local function use_member(facts, key)
    local used, created = used_of(facts), created_of(facts)
    if is_before(used, created) then
        used = created
    end
    return 'u' .. used .. key
end

local function places_of(facts, key)
    local places = { 'k' .. key, 'c' .. created_of(facts) .. key, use_member(facts, key) }
    if string.sub(facts, 17, 17) == '1' then
        places[4] = 'e' .. string.sub(facts, 26, 33) .. key
    end
    for at = 42, #facts, 8 do
        places[#places + 1] = 'g' .. string.sub(facts, at, at + 7) .. key
    end
    return places
end

-- Rows, places in the orders, what rows take, when one was taken out last, and the number of the last change.
local TOTALS = 't'

local function totals_in(text)
    local entries, places, bytes, taken, number = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    return tonumber(entries), tonumber(places), tonumber(bytes), tonumber(taken), tonumber(number)
end

local function totals_of(entries, places, bytes, taken, number)
    return string.format('%.0f %.0f %.0f %.0f %.0f', entries, places, bytes, taken, number)
end

-- How many arguments a command gets at most, by the size of the stack of Lua.
local AT_ONCE = 1000

local function add_places(members)
    for first = 1, #members, AT_ONCE do
        local scored = {}
        for at = first, math.min(first + AT_ONCE - 1, #members) do
            scored[#scored + 1] = 0
            scored[#scored + 1] = members[at]
        end
        redis.call('ZADD', orders, unpack(scored))
    end
end

local function take_places(members)
    for first = 1, #members, AT_ONCE do
        redis.call('ZREM', orders, unpack(members, first, math.min(first + AT_ONCE - 1, #members)))
    end
end

-- Takes a row out that is not there any more.
local function forget(facts, key)
    local places = places_of(facts, key)
    take_places(places)
    redis.call('HDEL', facts_name, 'r' .. key)
    local entries, all_places, bytes, taken, number = totals_in(redis.call('HGET', facts_name, TOTALS))
    entries, all_places, bytes = entries - 1, all_places - #places, bytes - footprint_of(facts)
    redis.call('HSET', facts_name, TOTALS, totals_of(entries, all_places, bytes, taken, number))
end

-- The totals, if all is there by which rows are found.
local function totals_if_whole()
    local told = redis.call('HGET', facts_name, TOTALS)
    if not told then
        return false
    end
    local entries, places = totals_in(told)
    local is_whole = entries + 1 == redis.call('HLEN', facts_name) and places == redis.call('ZCARD', orders)
    return is_whole and told
end
