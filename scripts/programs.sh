# Sourced in the root of the clone: sets $missing to the Debian packages that are not installed
# among those whose programs the tests of `scripts/test --full` start.

PATH="$PATH:/usr/sbin:/sbin" # where Debian has haproxy and nginx
missing=""

needs() { # PROGRAM-OR-FILE PACKAGE
    command -v "$1" >/dev/null || [ -e "$1" ] || missing="$missing $2"
}

needs curl curl
needs wrk wrk
needs promtool prometheus
needs etcd etcd-server
needs /usr/share/java/zookeeper.jar zookeeper
needs haproxy haproxy
needs nginx nginx
needs dig bind9-dnsutils
needs node nodejs
needs npm npm

# The folder into which `npm ci` installs the packages of package-lock.json for these tests.
node_folder=tests/integration/engines/node
npm_ci="npm ci --ignore-scripts --prefix $node_folder"
