-- Compare and append: adds events to a generation's log only where its tail is what the caller believes, and publishes them.
--
-- KEYS[1]  the log (a stream)
-- ARGV[1]  the channel
-- ARGV[2]  the tail that the caller expects, '' for no log
-- ARGV[3]  life of a log that this call creates, in ms
-- ARGV[4]  life of the log from now on, in ms, '' to leave it (a terminal event sets it)
-- ARGV[5…] id, kind, data of each event
--
-- Returns the tail as it is afterwards. It is the last id of the call exactly when all its events stand in the log.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local tail = newest[1] and newest[1][1] or ''
if tail ~= ARGV[2] then
  return tail
end
local lines = { tail }
for i = 5, #ARGV, 3 do
  redis.call('XADD', KEYS[1], ARGV[i], 'k', ARGV[i + 1], 'd', ARGV[i + 2])
  lines[#lines + 1] = ARGV[i] .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2]
  tail = ARGV[i]
end
if ARGV[4] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
elseif ARGV[2] == '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
redis.call('PUBLISH', ARGV[1], table.concat(lines, '\n'))
return tail
