// Print the role and the port of all services, as a line of JSON for each change.
var seaport = require('seaport');

var ports = seaport.connect('localhost', Number(process.argv[2]));
var before = '';

function show() {
  var found = ports.query().map(function (it) { return it.role + ' ' + it.port; });
  var line = JSON.stringify(found.sort());
  if (line !== before) { console.log(before = line); }
}

ports.get('tensor@1.x', show);
ports.on('register', show);
ports.on('free', show);
