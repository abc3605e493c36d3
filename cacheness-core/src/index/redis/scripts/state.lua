-- Changes a named value, which outlives generations, if it is as expected. ARGV: 2 name; 3 `some` or `none`, and 4 what is
-- expected; 5 `some` or `none`, and 6 the new one. Returns what is there.
local states = base .. ':state'
local there = redis.call('HGET', states, ARGV[2])
if (ARGV[3] == 'some' and there == ARGV[4]) or (ARGV[3] == 'none' and not there) then
    if ARGV[5] == 'some' then
        redis.call('HSET', states, ARGV[2], ARGV[6])
        return ARGV[6]
    end
    redis.call('HDEL', states, ARGV[2])
    return false
end
return there
