"""The programs of others that these tests start; a missing one fails the test, in one line."""

import os
import shutil

#: The command that installs each program.
COMMANDS = {
    "dig": "apt-get install bind9-dnsutils",
    "etcd": "apt-get install etcd-server",
    "haproxy": "apt-get install haproxy",
    "java": "apt-get install zookeeper",
    "nginx": "apt-get install nginx",
    "node": "apt-get install nodejs npm",
    "seaport": "npm ci --ignore-scripts --prefix tests/integration/engines/node",
}

#: Debian has haproxy and nginx in a folder that is not in the PATH of users.
SEARCHED = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def needed(program: str) -> str:
    """Return the path of *program*; fail in one line that names the command if it is missing."""
    path = shutil.which(program, path=SEARCHED)
    assert path is not None, f"{program} is missing: {COMMANDS[program]}"
    return path
