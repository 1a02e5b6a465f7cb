"""Programs that tests need: where they are, and which command installs them."""

import shutil
from collections.abc import Mapping

#: The command that installs each program.
COMMANDS: Mapping[str, str] = {
    "etcd": "apt-get install etcd-server",
    "java": "apt-get install zookeeperd",
    "node": "apt-get install nodejs npm",
    "seaport": "npm ci --ignore-scripts --prefix tests/integration/engines/node",
}


def needed(program: str) -> str:
    """Return the path of *program*; fail in one line that names the command if it is missing."""
    path = shutil.which(program)
    assert path is not None, f"{program} is missing: {COMMANDS[program]}"
    return path
