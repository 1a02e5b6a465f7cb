-- A script of wrk: post one body until the end, then print one JSON object.
-- Arguments after --: a file with header lines `Name: value`, and the file of the body.
function init(args)
  for line in io.lines(args[1]) do
    local name, value = line:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
  wrk.method = "POST"
  wrk.body = io.open(args[2], "rb"):read("*a")
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'JSON {"rate": %.2f, "answered": %d, "p50": %.3f, "p99": %.3f, "errors": %d}\n',
    summary.requests / summary.duration * 1e6, summary.requests,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
