"""A web server on this machine that answers with one file, well or badly."""

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from cifarnet.data.download import RemoteFile

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


def empty(handler: Handler) -> None:
    handler.answer(200, b"")


def unavailable(handler: Handler) -> None:
    handler.answer(503, b"later")


def forbidden(handler: Handler) -> None:
    handler.answer(403, b"no")


def server_error(handler: Handler) -> None:
    handler.answer(500, b"oops")


def no_such_range(handler: Handler) -> None:
    """Knows ranges, and says that it has none of any."""
    handler.answer(416 if handler.asked_range() else 404, b"")


def reset(handler: Handler) -> None:
    """Closes with a reset after CUT bytes."""
    start = handler.asked_range()
    handler.ranged(CONTENT[start : start + CUT])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def reset_at_once(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example.org ready\r\n")


def redirect_loop(handler: Handler) -> None:
    handler.answer(302, b"", Location=handler.path)


def redirect_to_page(handler: Handler) -> None:
    handler.answer(302, b"", Location=f"/web_page/{NAME}")


def redirect_to_good(handler: Handler) -> None:
    handler.answer(302, b"", Location=f"/good/{NAME}")


def too_long(handler: Handler) -> None:
    handler.answer(200, CONTENT + b"x")


def promises_too_much(handler: Handler) -> None:
    """The length is right, and then a part of it never comes."""
    handler.answer(200, CONTENT[:-1000], length=len(CONTENT))


def one_bit_flipped(handler: Handler) -> None:
    handler.answer(200, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))


def altered_rest(handler: Handler) -> None:
    """Cut, and what comes later is something else."""
    if handler.asked_range():
        handler.ranged(bytes(len(CONTENT) - handler.asked_range()))
    else:
        handler.ranged(CONTENT[:CUT])


def slow(handler: Handler) -> None:
    """In thirty pieces, a while apart."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    for start in range(0, len(CONTENT), 100_000):
        handler.wfile.write(CONTENT[start : start + 100_000])
        time.sleep(0.03)


def stalls(handler: Handler) -> None:
    """Nothing more after CUT bytes."""
    handler.ranged(CONTENT[:CUT])
    time.sleep(1)


def page_without_type(handler: Handler) -> None:
    handler.answer(200, b"<html>Not here</html>".ljust(len(CONTENT)))


BEHAVIOURS: dict[str, Callable[[Handler], None]] = {
    behaviour.__name__: behaviour
    for behaviour in (
        good, cut, cut_once, without_range, missing, altered, web_page, too_short, too_short_without_length,
        wrong_range, silent, endless, empty, unavailable, forbidden, server_error, no_such_range, reset, reset_at_once,
        no_http, redirect_loop, redirect_to_page, redirect_to_good, too_long, promises_too_much, one_bit_flipped,
        altered_rest, slow, stalls, page_without_type,
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


@contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
