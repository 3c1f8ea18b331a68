# A real Prometheus, out of Debian's package, that reads one page of metrics over and over and answers queries.
from __future__ import annotations

import contextlib
import functools
import http.server
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import cache
from lab.run import run
from lab.sshd import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """\
scrape_configs:
  - job_name: primus
    scrape_interval: 1s
    metrics_path: /report.prom
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def program() -> Path:
    """Return the path of prometheus, downloaded once, unpacked and not installed."""
    found = Path("/usr/bin/prometheus")
    return found if found.exists() else cache.once("prometheus", "debian", _unpack) / "usr" / "bin" / "prometheus"


def _unpack(directory: Path) -> None:
    fetch = "apt-get download -qq prometheus"
    script = f'cd "$0" && {{ {fetch} || {{ apt-get update -qq && {fetch}; }}; }} && dpkg-deb -x *.deb . && rm *.deb'
    run("sh", "-c", script, directory)


class Server:
    """A Prometheus that runs."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/query"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query. Raises AssertionError with what Prometheus says of it."""
        arguments = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{self._url}?{arguments}") as answer:  # noqa: S310 (http)
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None


@contextlib.contextmanager
def prometheus(directory: Path) -> Iterator[Server]:
    """Yield a Prometheus that has read ``directory/report.prom``."""
    handler = functools.partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        config = directory / "prometheus.yml"
        config.write_text(_CONFIG.format(port=pages.server_address[1]))
        port = free_port()
        command = [
            program(),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (directory / "prometheus.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _ready(Server(port), server, directory / "prometheus.log")
        finally:
            server.kill()
            server.wait()
            pages.shutdown()


def _ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> Server:
    """Return the server when it has read the page; RuntimeError with its log where it ends before."""
    while process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, AssertionError):
            if any(sample["value"][1] == "1" for sample in server.query("up")):
                return server
        time.sleep(0.1)
    raise RuntimeError(log.read_text())


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def guess_type(self, _path: Any) -> str:
        """Return what Prometheus 3 insists on."""
        return "text/plain"

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing: each second would be a line."""
