"""ZooKeeper, of the Debian package zookeeperd, with our own configuration."""

import socket
from contextlib import suppress
from pathlib import Path

from tests.integration.engines.engine_process import EngineProcess
from tests.integration.engines.programs import COMMANDS, needed
from tests.integration.servers import free_port

JAR = Path("/usr/share/java/zookeeper.jar")

#: Seconds; a session may be as short as two ticks.
TICK = 0.5

CONFIGURATION = """\
tickTime={tick_ms:.0f}
dataDir={folder}/data
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
maxClientCnxns=0
4lw.commands.whitelist=srvr
"""

#: A small machine virtual, which starts fast.
JAVA_OPTIONS = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


class ZooKeeper(EngineProcess):
    """A server of its own, alone."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        java = needed("java")
        assert JAR.exists(), f"{JAR} is missing: {COMMANDS['java']}"
        (folder / "zoo.cfg").write_text(
            CONFIGURATION.format(tick_ms=TICK * 1e3, folder=folder, port=port)
        )
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        super().__init__([java, *JAVA_OPTIONS, "-cp", str(JAR), main, "zoo.cfg"], folder, port)

    def answers(self) -> bool:
        """Return whether it serves: it takes connections before that, and leaves them silent."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"srvr")
            connection.settimeout(5)
            return b"Mode: standalone" in connection.makefile("rb").read()
        return False

    @property
    def url(self) -> str:
        """The URL of workers that the tests share, without a lease."""
        return f"zk://127.0.0.1:{self.port}/tf"
