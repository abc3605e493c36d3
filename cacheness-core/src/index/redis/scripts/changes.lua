-- The keys of the rows that others than the writer ARGV[3] have changed since ARGV[2]. Returns the number of the last
-- change, whether all are known, and the keys.
if not is_this_generation() then
    return { OTHER_GENERATION }
end
local told = redis.call('HGET', facts_name, TOTALS)
if not told then
    return { LOST }
end
local _, _, _, _, number = totals_in(told)
local last = integer(number)
local missed = number - tonumber(ARGV[2])
if missed == 0 then
    return { DONE, last, 1, {} }
end
-- A greater number is of another generation.
if missed < 0 or missed > redis.call('LLEN', changes) then
    return { DONE, last, 0, {} }
end
local keys, known = {}, {}
for _, note in ipairs(redis.call('LRANGE', changes, -missed, -1)) do
    local key = string.sub(note, 34)
    if string.sub(note, 1, 16) ~= ARGV[3] and not known[key] then
        known[key] = true
        keys[#keys + 1] = key
    end
end
return { DONE, last, 1, keys }
