"""A terminal for tests: a pseudo-terminal whose screen is kept by pyte."""

import os
import pty
import termios
import threading
from typing import Self

import pyte

# The last byte that is written: a program prints none, and the reader has read all before it.
_END = b"\0"


class Terminal:
    """``stream`` is what a program prints to; ``lines`` is what a user sees, what was scrolled away included."""

    def __init__(self, columns: int, rows: int = 30):
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self.control, self.slave = pty.openpty()
        self.resize(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self.stream = open(self.slave, "w", encoding="utf-8", closefd=False)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        os.write(self.slave, _END)
        self._reader.join()
        os.close(self.slave)
        os.close(self.control)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        termios.tcsetwinsize(self.slave, (rows, columns))

    def lines(self) -> list[str]:
        """Read after the block: the lines without the blanks at their ends."""
        above = ["".join(line[x].data for x in range(self.screen.columns)) for line in self.screen.history.top]
        return [line.rstrip() for line in [*above, *self.screen.display]]

    def _read(self) -> None:
        read = b""
        while not read.endswith(_END):
            read = os.read(self.control, 1 << 16)
            self._stream.feed(read.removesuffix(_END))
