"""Install a virtualenv for each server and one for the client, install nginx, and make the data."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.peers.launch import DATA, HERE, PORT, WORK, Peer, venv_python
from benchmarks.peers.measure import progress

NGINX_CONF = """\
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path tmp;
 proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
 server { listen 127.0.0.1:PORT backlog=1024; location / {
  default_type application/json; return 200 '{"n":1024}'; } } }
"""


def setup(peers: Sequence[Peer]) -> None:
    """
    Install what *peers* and the client need, and make the data.

    Raises `click.ClickException` if the client cannot be installed; reports a server that cannot.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    if not _install("client", HERE / "requirements/client.txt"):
        raise click.ClickException("the packages of the client could not be installed")
    if not all((DATA / name).exists() for name in ("answer.json", "row_answer.json")):
        make_data = [venv_python("client"), HERE / "client/make_data.py", DATA]
        env = {**os.environ, "PYTHONPATH": str(HERE / "servers"), "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(make_data, check=True, env=env)  # noqa: S603 - ours
    for peer in peers:
        if peer.requirements.exists() and not _install(peer.name, peer.requirements):
            progress("could not install", peer.name)
    _unpack_nginx(WORK / "nginx")
    if not shutil.which("wrk"):
        progress("workload A needs wrk: apt-get install wrk")


def _install(name: str, requirements: Path) -> bool:
    """Install *requirements* into the virtualenv *name*; return whether pip succeeded."""
    if not venv_python(name).exists():
        venv: list[str | Path] = [sys.executable, "-m", "venv", WORK / "venvs" / name]
        subprocess.run(venv, check=True)  # noqa: S603 - ours
    progress("installing", name)
    pip: list[str | Path] = [venv_python(name), "-m", "pip", "install", "-q", "-r", requirements]
    return not subprocess.run(pip, check=False).returncode  # noqa: S603 - ours


def _unpack_nginx(folder: Path) -> None:
    """
    Link the installed nginx into *folder*; without one, unpack Debian's package there.

    Also writes the configuration of nginx.
    """
    if not (folder / "usr/sbin").exists():
        folder.mkdir(exist_ok=True)
        found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if found:
            (folder / "usr/sbin").mkdir(parents=True)
            (folder / "usr/sbin/nginx").symlink_to(found)
        elif shutil.which("apt-get"):
            download = ["apt-get", "download", "nginx"]
            subprocess.run(download, cwd=folder, check=False)  # noqa: S603 - Debian's
            for package in folder.glob("*.deb"):
                subprocess.run(  # noqa: S603 - Debian's
                    ["dpkg-deb", "-x", package, folder],  # noqa: S607
                    check=True,
                )
    (WORK / "tmp/nginx/tmp").mkdir(parents=True, exist_ok=True)
    (WORK / "tmp/nginx/nginx.conf").write_text(NGINX_CONF.replace("PORT", str(PORT)))
