"""The server of a page: whom it answers, and that it shows what has been written since."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from factory import FAST, SLOW

from microbench.analysis.page import Page, page
from microbench.cli.source import Source
from microbench.errors import UserError
from microbench.records.record import encode
from microbench.tables.page.server import LOCAL, Server


@contextmanager
def serving(
    folder: Path, host: str = LOCAL, current: Callable[[], tuple[Page, str]] | None = None
) -> Iterator[Server]:
    paths = [str(folder)]
    with Server(current or Source(paths).current, paths, host) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def nothing() -> tuple[Page, str]:
    return page([]), "tag"


def ask(
    server: Server, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(LOCAL, server.server_port, timeout=10)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer, answer.read().decode()
    finally:
        connection.close()


def add(folder: Path, records: Any) -> None:
    with (folder / "records.jsonl").open("ab") as file:
        file.writelines(encode(record) + b"\n" for record in records)


def test_it_listens_on_this_machine_alone_unless_told(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_it_answers_by_the_machine_s_own_names(name: str, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert ask(server, Host=f"{name}:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example:{}", "localhost", "localhost:1", "10.0.0.1:{}", "localhost.evil:{}", ""]
)
def test_a_foreign_host_is_refused(host: str, tmp_path: Path, timed: Any) -> None:
    add(tmp_path, timed(FAST))
    with serving(tmp_path) as server:
        for path in ("/", "/data"):
            status, _, text = ask(server, path, Host=host.format(server.server_port))
            assert (status, text) == (421, "This host is not served here.\n")


def test_on_every_address_it_answers_by_any_address_but_by_no_foreign_name(tmp_path: Path) -> None:
    with serving(tmp_path, "0.0.0.0") as server:
        assert ask(server, Host=f"10.0.0.1:{server.server_port}")[0] == 200
        assert ask(server, Host=f"evil.example:{server.server_port}")[0] == 421


def test_it_has_the_page_and_its_data_and_nothing_else(tmp_path: Path, timed: Any) -> None:
    add(tmp_path, timed(FAST))
    with serving(tmp_path) as server:
        status, answer, text = ask(server)
        assert (status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "connect-src 'self'" in text
        for path in ("/records.jsonl", "/../records.jsonl", "/data/x", "/?x"):
            assert ask(server, path)[0] == 404
        assert ask(server, method="POST")[0] == 501
        status, answer, text = ask(server, method="HEAD")
        assert (status, text) == (200, "")
        assert int(answer.headers["Content-Length"]) > 1000


def test_what_is_written_meanwhile_is_shown_and_what_is_the_same_is_not_sent(
    tmp_path: Path, timed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as server:
        _, answer, text = ask(server, "/data")
        assert "There are no records yet." in json.loads(text)["main"]
        tag = answer.headers["ETag"]
        assert ask(server, "/data", If_None_Match=tag)[::2] == (304, "")
        add(tmp_path, timed(FAST))
        status, answer, text = ask(server, "/data", If_None_Match=tag)
        assert (status, json.loads(text)["subtitle"][:16]) == (200, "1 case · 6 round")
        assert ask(server, "/data", If_None_Match=answer.headers["ETag"])[0] == 304
        add(tmp_path, timed(SLOW, 1, engine="compile"))
        found = json.loads(ask(server, "/data")[2])
        assert found["data"]["names"].keys() == {"r/0", "r/1"}
        (tmp_path / "records.jsonl").write_bytes(b"no record\n" * 3)
        after = json.loads(ask(server, "/data")[2])
        assert (after["main"], after["data"]["names"]) == (found["main"], found["data"]["names"])
        assert "no line of it is a record" in capsys.readouterr().err


def test_a_browser_that_leaves_before_it_is_answered_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, left = Event(), Event()

    def slow() -> tuple[Page, str]:
        asked.set()
        assert left.wait(timeout=60)
        return nothing()

    with serving(tmp_path, current=slow) as server:
        server.daemon_threads = False  # so that its end waits for the answer
        browser = socket.create_connection((LOCAL, server.server_port), timeout=60)
        browser.sendall(b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % server.server_port)
        assert asked.wait(timeout=60)
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.close()  # at once, as that of a tab: the connection is reset
        left.set()
    assert capsys.readouterr() == ("", "")


def test_a_port_that_is_taken_and_a_host_that_is_none_are_reported(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        with pytest.raises(
            UserError, match=f"Cannot listen on 127.0.0.1:{server.server_port}: Address already in use"
        ):
            Server(nothing, [], port=server.server_port)
        with pytest.raises(UserError, match=r"Cannot listen on no\.such\.host\.invalid:0: "):
            Server(nothing, [], "no.such.host.invalid")
