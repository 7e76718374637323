"""A page that a server on this machine refreshes while a run measures."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from glob import has_magic
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock

from microbench.analysis.page import Page, page
from microbench.errors import UserError
from microbench.records.result import load
from microbench.records.store import find
from microbench.tables import page as pages

LOCAL = "127.0.0.1"
ANY = ("0.0.0.0", "::")
"""The addresses that mean all of a machine's."""

LOCAL_NAMES = (LOCAL, "localhost", "[::1]")
"""The names that a browser on this machine may call the server by.

Any other name in a request's `Host` is refused: it may be that of a foreign site, whose owner lets it point
to this machine, so that the browser gives the site what it reads here (DNS rebinding). An address cannot.
"""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Source:
    """The records that a page shows, read again when their files have changed.

    Args:
        paths: files of records, folders with them, or patterns of such. There may be no records yet.

    Raises:
        UserError: a path does not exist, or what is there are no records.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        for path in paths:
            if not has_magic(path) and not Path(path).exists():
                raise UserError(f"Cannot read {path}: No such file or directory.")
        self.paths = paths
        self._lock = Lock()
        self._tag = self._digest()
        self._page = self._read()

    def current(self) -> tuple[str, Page]:
        """Return the page as it is now, and a tag that changes with it.

        A file that cannot be read any more leaves the page as it was, and a line that says so.
        """
        with self._lock:
            tag = self._digest()
            if tag != self._tag:
                self._tag = tag
                try:
                    self._page = self._read()
                except UserError as error:
                    print(f"microbench: {error}", file=sys.stderr)
            return self._tag, self._page

    def _read(self) -> Page:
        return page(load(self._files()).cases())

    def _digest(self) -> str:
        """Return what changes when a file of records does, as an ETag."""
        stats = [
            (str(each), found.st_mtime_ns, found.st_size) for each in self._files() if (found := _stat(each))
        ]
        return f'"{sha256(repr(stats).encode()).hexdigest()[:16]}"'

    def _files(self) -> list[Path]:
        """Return the files of records that there are by now."""
        files = []
        for path in self.paths:
            with suppress(UserError):  # there are none yet
                files += find([path])
        return files


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


class Server(ThreadingHTTPServer):
    """Serves one page.

    Args:
        source: what it shows.
        host: the address to listen on.
        port: the port; 0 for a free one.

    Raises:
        UserError: the address cannot be listened on.
    """

    daemon_threads = True

    def __init__(self, source: Source, host: str = LOCAL, port: int = 0) -> None:
        self.source = source
        self.host = f"[{host}]" if ":" in host else host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._is_any = host in ANY
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UserError(f"Cannot listen on {self.host}:{port}: {error.strerror}.") from error

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self.host}:{self.server_port}/"

    def allows(self, host: str) -> bool:
        """Return whether a request's `Host` names this server."""
        name, _, port = host.rpartition(":")
        is_known = name.lower() in {*LOCAL_NAMES, self.host.lower()} or (self._is_any and _is_address(name))
        return is_known and port == str(self.server_port)


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "microbench"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page, or with what a page shows anew."""
        if not self.server.allows(self.headers.get("Host", "")):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"This host is not served here.\n")
            return
        if self.path not in ("/", "/data"):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"There is / and /data.\n")
            return
        tag, found = self.server.source.current()
        if self.path == "/":
            text = pages.html(found, self.server.source.paths, tag)
            self._answer(HTTPStatus.OK, "text/html", text.encode(), tag)
        elif self.headers.get("If-None-Match") == tag:
            self._answer(HTTPStatus.NOT_MODIFIED, "application/json", b"", tag)
        else:
            self._answer(HTTPStatus.OK, "application/json", pages.fragment(found, tag).encode(), tag)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, tag: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        if tag is not None:
            self.send_header("ETag", tag)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Print nothing: a page asks every two seconds."""
