// A worker: it registers as tensor@1.0.0, and answers each POST with its process and the bytes.
var http = require('http');
var seaport = require('seaport');

var ports = seaport.connect('localhost', Number(process.argv[2] || 12481));

var server = http.createServer(function (request, response) {
  var bytes = 0;
  request.on('data', function (chunk) { bytes += chunk.length; });
  request.on('end', function () { response.end(process.pid + ' ' + bytes + '\n'); });
});

server.listen(ports.register('tensor@1.0.0'));
