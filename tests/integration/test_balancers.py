"""A server behind HAProxy and nginx as their documentation configures them, without our command."""

import csv
import gzip
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import post
from tests.integration.engines.programs import needed
from tests.integration.servers import Server, free_port, serving, started, wait_for
from tests.integration.test_haproxy import MOODY_SERVER, body

pytestmark = pytest.mark.full

#: The health checks of HAProxy, each with a backend of its own; the first one is `OPTIONS /` in
#: HTTP/1.0, without Host.
CHECKS = {
    "plain": "option httpchk",
    "asterisk": "option httpchk OPTIONS *",
    "head": "option httpchk HEAD /",
    "get": "option httpchk GET / HTTP/1.1\\r\\nHost:\\ localhost",
    "modern": "option httpchk\n  http-check send meth OPTIONS uri / ver HTTP/1.1 hdr Host here",
}

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 64m;
  client_body_buffer_size 2m;
  upstream workers {{ server 127.0.0.1:{server}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{plain};
    location / {{ proxy_pass http://127.0.0.1:{server}; }}
  }}
  server {{
    listen 127.0.0.1:{kept};
    location / {{
      proxy_pass http://workers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a small model, which is ready."""
    folder = tmp_path_factory.mktemp("balancers")
    model = folder / "model.npz"
    LinearModel(np.zeros((1, 1, 3, 1), np.float32), np.ones((2, 1), np.float32)).save(model)
    options = (f"--model={model}", "--max-batch-size=8")
    with serving(*options, cache_home=folder, folder=folder, command=MOODY_SERVER) as it:
        yield it


def checks(socket_path: Path) -> dict[str, tuple[str, str]]:
    """Return the state of the server in each backend of an HAProxy, and its last check's status."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(socket_path))
        connection.sendall(b"show stat\n")
        with connection.makefile() as lines:
            rows = csv.DictReader(it.lstrip("# ") for it in lines if it.strip())
            return {
                it["pxname"]: (it["status"], it["check_code"])
                for it in rows
                if it["svname"] == "it"
            }


def test_haproxy_marks_the_server_up(tmp_path: Path, server: Server) -> None:
    """By each of its checks, and passes requests on."""
    port, stats = free_port(), tmp_path / "stats"
    backends = "\n".join(
        f"backend {name}\n  {check}\n  server it 127.0.0.1:{server.port} check inter 100ms fall 1"
        for name, check in CHECKS.items()
    )
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        f"global\n  stats socket {stats}\n"
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 9s\n  timeout server 9s\n"
        f"frontend clients\n  bind 127.0.0.1:{port}\n  default_backend plain\n{backends}\n"
    )
    program = needed("haproxy")
    with started(
        cache_home=tmp_path, folder=tmp_path, command=(program, "-db", "-f", str(file))
    ) as proxy:
        proxy.wait_for(stats.exists, "socket of HAProxy")
        # A server is up before its first check, too.
        up = dict.fromkeys(CHECKS, ("UP", "200"))
        wait_for(lambda: checks(stats) == up, "success of all checks", 10)
        assert "DOWN" not in proxy.log
        assert [post(port, body(1)).status for _ in range(8)] == [200] * 8


@contextmanager
def nginx(folder: Path, server: int) -> Iterator[tuple[int, int]]:
    """Start an nginx before *server*; yield its ports: with a connection a request, and kept."""
    plain, kept = free_port(), free_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, server=server, plain=plain, kept=kept))
    program = needed("nginx")
    prefix = (program, "-p", str(folder), "-e", "stderr", "-c", str(file))
    subprocess.run([*prefix, "-t"], check=True)
    with started(cache_home=folder, folder=folder, command=prefix) as it:
        it.wait_for((folder / "nginx.pid").exists, "nginx")
        yield plain, kept


def test_nginx_passes_requests_on(tmp_path: Path, server: Server) -> None:
    """By HTTP/1.0 with a connection each, and by kept connections; long and compressed bodies."""
    rows = [[1.0, float(number)] for number in range(8)]
    long = orjson.dumps({"signature_name": "numbers", "inputs": {"x": rows}}) + b" " * (1 << 20)
    coded = {"Content-Encoding": "gzip"}
    with nginx(tmp_path, server.port) as ports:
        for port in ports:
            direct = post(server.port, long).body
            for _ in range(20):
                assert post(port, body(1)).status == 200
                assert post(port, long).body == direct
                assert post(port, gzip.compress(long), headers=coded).body == direct
            refused = post(port, b"{}", headers={"Content-Encoding": "br"})
            assert (refused.status, refused.headers["accept-encoding"]) == (415, "gzip, deflate")
