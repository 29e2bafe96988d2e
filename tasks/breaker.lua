-- One circuit: whether a model may be called. Each step is one call, so that any number of workers agree.
--
-- KEYS[1]  the circuit (a hash, see breaker.py)
-- ARGV[1]  the step: enter, fail, recover or release
-- ARGV[2]  enter: ms that a probe has; fail: failures that open it
-- ARGV[3]  fail: ms of the window in which these come
-- ARGV[4]  fail: ms of the first cool-down
-- ARGV[5]  fail: ms of the longest
-- ARGV[6]  fail, recover: 1 for a probe
--
-- Returns, for enter: 0 refused, 1 may call, 2 may call and is the probe; for fail: 1 where that opened it; else 0.
-- All times are this Redis's own.
local key, step = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local open_until = tonumber(redis.call('HGET', key, 'open_until'))

local function live(ms)
  redis.call('PEXPIRE', key, math.ceil(ms))
end

local function open(cool_down)
  redis.call('HSET', key, 'open_until', now + cool_down, 'cool_down', cool_down)
  redis.call('HDEL', key, 'probe_until', 'failures')
  live(cool_down + 2 * tonumber(ARGV[5])) -- whoever comes later finds it closed
  return 1
end

if step == 'enter' then
  if not open_until then return 1 end
  local probe_until = tonumber(redis.call('HGET', key, 'probe_until')) or 0
  if now < open_until or now < probe_until then return 0 end
  redis.call('HSET', key, 'probe_until', now + ARGV[2])
  live(math.max(redis.call('PTTL', key), 2 * ARGV[2]))
  return 2
end

local is_probe = ARGV[6] == '1'

if step == 'fail' and open_until then
  if not is_probe then return 0 end -- a call that began before it opened
  return open(math.min(2 * redis.call('HGET', key, 'cool_down'), tonumber(ARGV[5])))
end
if step == 'fail' then
  local failures = redis.call('HINCRBY', key, 'failures', 1)
  if failures >= tonumber(ARGV[2]) then return open(tonumber(ARGV[4])) end
  if failures == 1 then live(ARGV[3]) end
  return 0
end
if step == 'recover' and (is_probe or not open_until) then redis.call('DEL', key) end
if step == 'release' then redis.call('HDEL', key, 'probe_until') end
return 0
