// The worker, with a heartbeat each 0.2 s.
var seaport = require('seaport');

var connect = seaport.connect;
seaport.connect = function (host, port) { return connect(host, port, { heartbeat: 200 }); };
require('./worker.js');
