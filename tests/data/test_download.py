"""Downloads from a real server on this machine."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cifarnet.data.download import RemoteFile, fetch
from cifarnet.errors import DataError, DownloadError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
NAME = "set.tar.gz"
CUT = 3 << 18  # a multiple of the chunks that are written, since a part of one is lost


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT by the path's behaviour, and notes the requests."""

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        BEHAVIOURS[self.path.split("/")[1]](self)

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def asked_range(self) -> int:
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def ranged(self, body: bytes) -> None:
        """Send what the range asks for of CONTENT, of which only ``body`` follows."""
        start = self.asked_range()
        if start:
            total = len(CONTENT)
            span = f"bytes {start}-{total - 1}/{total}"
            self.answer(206, body, length=total - start, Content_Range=span)
        else:
            self.answer(200, body, length=len(CONTENT))


def good(handler: Handler) -> None:
    handler.ranged(CONTENT[handler.asked_range() :])


def cut(handler: Handler) -> None:
    """CUT bytes at a time."""
    start = handler.asked_range()
    handler.ranged(CONTENT[start : start + CUT])


def cut_once(handler: Handler) -> None:
    """Gives up after CUT bytes, and is away afterwards."""
    if handler.asked_range():
        handler.answer(503, b"")
    else:
        handler.ranged(CONTENT[:CUT])


def without_range(handler: Handler) -> None:
    handler.answer(200, CONTENT)


def missing(handler: Handler) -> None:
    handler.answer(404, b"no")


def altered(handler: Handler) -> None:
    handler.answer(200, bytes(len(CONTENT)))


def web_page(handler: Handler) -> None:
    handler.answer(200, b"<html>Sign in to the hotel</html>", Content_Type="text/html; charset=utf-8")


def too_short(handler: Handler) -> None:
    handler.answer(200, CONTENT[:-1])


def too_short_without_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"x" * 10)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(CONTENT)


def wrong_range(handler: Handler) -> None:
    handler.answer(206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")


def silent(handler: Handler) -> None:
    time.sleep(1)


BEHAVIOURS: dict[str, Callable[[Handler], None]] = {
    behaviour.__name__: behaviour
    for behaviour in (
        good, cut, cut_once, without_range, missing, altered, web_page, too_short, too_short_without_length,
        wrong_range, silent, endless,
    )
}  # fmt: skip


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    def handle_error(self, *_: object) -> None:
        """A client that has hung up is part of these tests."""

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{NAME}"

    def file(self, behaviour: str) -> RemoteFile:
        return RemoteFile(NAME, self.url(behaviour), len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as server:
        yield server


@contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_downloaded_and_told_about(server, tmp_path):
    told = []
    path = fetch(server.file("good"), tmp_path / "cache", report=lambda *progress: told.append(progress))
    assert path == tmp_path / "cache" / NAME
    assert path.read_bytes() == CONTENT
    assert told[-1] == (f"Downloading {NAME}", len(CONTENT), len(CONTENT))
    assert len(told) > 5
    assert [file.name for file in path.parent.iterdir()] == [NAME]


def test_a_file_that_is_there_and_intact_is_not_downloaded_again(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_file_that_is_there_and_damaged_is_replaced(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1] + b"?")
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_was_cut(server, tmp_path):
    assert fetch(server.file("cut"), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={turn * CUT}-" for turn in (1, 2, 3))]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    with pytest.raises(DownloadError, match="503"):
        fetch(server.file("cut_once"), tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:CUT]
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == (f"/good/{NAME}", f"bytes={CUT}-")
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_another_mirror_goes_on_with_what_the_first_one_gave(server, tmp_path):
    assert fetch(server.file("good"), tmp_path, mirrors=[server.url("cut_once")]).read_bytes() == CONTENT
    assert server.requests[-1] == (f"/good/{NAME}", f"bytes={CUT}-")


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    assert fetch(server.file("without_range"), tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_refused_and_the_part_kept(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="sent another range"):
        fetch(server.file("wrong_range"), tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1000]


def test_a_complete_part_is_checked_and_used(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(server.file("missing"), tmp_path).read_bytes() == CONTENT


def test_a_part_that_proves_wrong_is_deleted_so_that_the_next_try_starts_afresh(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(bytes(1000))
    with pytest.raises(DownloadError, match="SHA-256 of what it gave is another"):
        fetch(server.file("good"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"more")
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_mirrors_are_tried_in_turn_before_those_of_the_environment_and_the_official_address(
    server, tmp_path, monkeypatch
):
    monkeypatch.setenv("CIFARNET_MIRROR", f"{server.url('web_page')}, {server.url('altered')}")
    mirrors = [server.url("missing"), server.url("too_short")]
    assert fetch(server.file("good"), tmp_path, mirrors=mirrors).read_bytes() == CONTENT
    assert [path.split("/")[1] for path, _ in server.requests] == [
        "missing",
        "too_short",
        "web_page",
        "altered",
        "good",
    ]


def test_a_mirror_may_be_a_directory(server, tmp_path):
    fetch(server.file("missing"), tmp_path, mirrors=[server.url("good").removesuffix(NAME)])
    assert server.requests == [(f"/good/{NAME}", None)]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "404 Not Found"),
        ("altered", "SHA-256 of what it gave is another"),
        ("web_page", "answered with a web page"),
        ("too_short", "offers 2,999,999 bytes instead of 3,000,000"),
        ("endless", "sent 3,[0-9,]+ bytes instead of 3,000,000"),
        ("too_short_without_length", "sent 10 bytes instead of 3,000,000"),
    ],
)
def test_a_wrong_answer_is_refused_with_its_reason_and_leaves_nothing(server, tmp_path, behaviour, reason):
    with pytest.raises(DownloadError, match=f"{server.url(behaviour)}: .*{reason}"):
        fetch(server.file(behaviour), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.stat().st_size] == []


def test_a_server_that_does_not_answer_is_given_up(server, tmp_path):
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch(server.file("silent"), tmp_path, timeout=(0.2, 0.2))


def test_without_a_connection_the_message_says_which_file_to_put_where(tmp_path):
    with running(Server()) as gone:
        file = gone.file("good")
    with pytest.raises(DownloadError) as caught:
        fetch(file, tmp_path / "cache")
    message = str(caught.value)
    assert "no connection" in message
    for fact in (file.name, file.url, "3,000,000 bytes", file.sha256, str(tmp_path / "cache" / NAME), "--mirror"):
        assert fact in message


@pytest.mark.parametrize("mirror", ["nonsense", "ftp://example.org/x", "http://"])
def test_a_mirror_that_is_no_web_address_is_passed_over(server, tmp_path, mirror):
    assert fetch(server.file("good"), tmp_path, mirrors=[mirror]).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_to_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file.cache can't be written to .*CIFARNET_CACHE"):
        fetch(server.file("good"), tmp_path / "file" / "cache")
