-- What wrk sends: each thread, which has one connection, the lines of a plan that are its own, in turn.
-- A line is method, path, token and body, with tabs between. In a body, {unique} is a word that never comes again.
-- With "chain" each request takes the refresh token out of the answer before it. See `bench/driving.py`.

local count = 0

function setup(thread)
  thread:set("number", count)
  count = count + 1
end

function init(args)
  local plan, name, threads, mode = args[1], args[2], tonumber(args[3]), args[4]
  local lines = {}
  for line in io.lines(plan) do
    table.insert(lines, line)
  end
  local share = #lines / threads
  requests, unique, sent = {}, name .. "x" .. number .. "x", 0
  for index = number * share + 1, (number + 1) * share do
    local method, path, token, body = lines[index]:match("^(.-)\t(.-)\t(.-)\t(.*)$")
    local headers = {}
    for header, value in pairs(wrk.headers) do
      headers[header] = value
    end
    if token ~= "" then
      headers["Authorization"] = "Bearer " .. token
    end
    if body ~= "" then
      headers["Content-Type"] = "application/json"
    end
    local request = { method = method, path = path, headers = headers, body = body ~= "" and body or nil }
    request.text = wrk.format(method, path, headers, request.body)
    request.is_unique = body:find("{unique}", 1, true)
    table.insert(requests, request)
  end
  turn = number == 0 and #requests - 1 or 0 -- wrk asks its first thread for one request that it does not send
  if mode == "chain" then
    response = follow
  end
end

function request()
  local now = requests[turn + 1]
  turn = (turn + 1) % #requests
  if not now.is_unique then
    return now.text
  end
  sent = sent + 1
  return wrk.format(now.method, now.path, now.headers, (now.body:gsub("{unique}", unique .. sent)))
end

function follow(status, headers, body)
  local now, token = requests[1], body:match('"refresh":"([^"]+)"')
  if token then
    now.text = wrk.format(now.method, now.path, now.headers, '{"refresh":"' .. token .. '"}')
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "refused": %d, "lost": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, lost
  ))
end
