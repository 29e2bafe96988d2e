-- Counts a request in a sliding window, unless the window is full. One call, so that any number of processes count exactly.
--
-- KEYS[1]  the window (a sorted set: a member for each request, its score the time, in µs of this Redis's clock)
-- ARGV[1]  requests that the window holds at most
-- ARGV[2]  its length in µs
-- ARGV[3]  this request's own member
--
-- Returns: 1 where the request is counted, 0 where it is refused; the requests in the window now; the µs until one of them
-- leaves and a place is free. A refused request leaves the window as it is.
local limit, length = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - length)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + length, '+inf') -- its clock was set back: nobody waits for more than two windows
local count = redis.call('ZCARD', KEYS[1])
local admitted = count < limit
if admitted then
  -- Also where memory is short: Redis lets a script write on that has begun to (see ZREMRANGEBYSCORE above).
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], math.ceil(length / 1000))
  count = count + 1
end
local leaving = math.max(0, count - limit)
local oldest = redis.call('ZRANGE', KEYS[1], leaving, leaving, 'WITHSCORES')
return { admitted and 1 or 0, count, math.max(0, tonumber(oldest[2]) + length - now) }
