-- Begins a generation where there is none, or where ARGV[1] is the one that is there and has lost what finds its rows.
-- ARGV[2] is the new one. Returns the one that is there.
local there = redis.call('GET', base)
if there and there ~= generation then
    return there
end
if there then
    redis.call('DEL', facts_name, orders, changes)
end
redis.call('SET', base, ARGV[2])
redis.call('HSET', base .. ':' .. ARGV[2] .. ':facts', TOTALS, totals_of(0, 0, 0, 0, tonumber(ARGV[3])))
return ARGV[2]
