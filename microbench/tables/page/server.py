"""A page that a server on this machine refreshes while a run measures."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

from microbench.analysis.page import Page
from microbench.errors import UserError
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


class Server(ThreadingHTTPServer):
    """Serves one page.

    Args:
        current: gives the page as it is now, and a tag that changes with it. Threads call it.
        paths: the records that it is of.
        host: the address to listen on.
        port: the port; 0 for a free one.

    Raises:
        UserError: the address cannot be listened on.
    """

    daemon_threads = True

    def __init__(
        self, current: Callable[[], tuple[Page, str]], paths: Sequence[str], host: str = LOCAL, port: int = 0
    ) -> None:
        self.current = current
        self.paths = paths
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

    def handle(self) -> None:
        """Answer a connection's requests, until the browser leaves."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer with the page, or with what a page shows anew."""
        if not self.server.allows(self.headers.get("Host", "")):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"This host is not served here.\n")
            return
        if self.path not in ("/", "/data"):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"There is / and /data.\n")
            return
        found, tag = self.server.current()
        if self.path == "/":
            text = pages.html(found, self.server.paths, tag)
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
