"""etcd, of the Debian package etcd-server, with our own configuration."""

from pathlib import Path

from tests.integration.engines.engine_process import EngineProcess
from tests.integration.engines.programs import needed
from tests.integration.servers import free_port


class Etcd(EngineProcess):
    """A cluster of one server."""

    def __init__(self, folder: Path) -> None:
        port, peer_port = free_port(), free_port()
        clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        command = [
            needed("etcd"), "--name=one", "--data-dir=data", "--log-level=warn",
            f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=one={peers}",
        ]  # fmt: skip
        super().__init__(command, folder, port)

    @property
    def url(self) -> str:
        """The URL of workers that the tests share, without a lease."""
        return f"etcd://127.0.0.1:{self.port}/tf"
