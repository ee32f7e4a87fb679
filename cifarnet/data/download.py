"""Downloading a file whose checksum is known: resumed where it was cut, from the first address that has it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cifarnet.data.progress import Progress, silent
from cifarnet.errors import DataError, DownloadError
from cifarnet.files import move_into_place, sha256_of
from cifarnet.locking import locked

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for more bytes once it stands."""

_CHUNK = 1 << 18

# Seconds to wait for another process that downloads the same file.
_LONGEST_DOWNLOAD = 3600.0


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web: its name, address, size in bytes and SHA-256."""

    name: str
    url: str
    size: int
    sha256: str

    def is_intact(self, path: Path) -> bool:
        """Whether the file at ``path`` is this one, by size and checksum."""
        return os.path.isfile(path) and path.stat().st_size == self.size and sha256_of(path) == self.sha256


def fetch(
    remote: RemoteFile,
    folder: Path,
    *,
    mirrors: Sequence[str] = (),
    report: Progress = silent,
    timeout: tuple[float, float] = TIMEOUT,
) -> Path:
    """The path of ``remote`` in ``folder``, downloaded unless a copy whose checksum holds is there.

    Tries ``mirrors``, then those in $CIFARNET_MIRROR (separated by commas), then the file's own address; one that
    ends with a slash names the directory of the file. What a cut connection has brought stays beside the file as
    ``<name>.part`` and is gone on from, now or at the next call; the file gets its name once its checksum holds.

    Raises:
        DownloadError: when no address gives the file; the message tells why, and how to put it there by hand.
        DataError: when ``folder`` can't be written to.
    """
    from requests import RequestException

    target, part = folder / remote.name, folder / f"{remote.name}.part"
    failures = []
    try:
        with _alone(remote, folder, report):
            if remote.is_intact(target):
                return target
            for url in _addresses(remote, mirrors):
                try:
                    _Download(remote, part, report, timeout).go_on(url)
                    move_into_place(part, target)
                    return target
                except (RequestException, DownloadError, ValueError) as error:  # ValueError: no web address.
                    failures.append(f"{url}: {_reason(error)}")
    except TimeoutError as error:
        raise DataError(
            f"{remote.name} could not be downloaded within {_LONGEST_DOWNLOAD / 60:.0f} minutes: {error.strerror}."
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder} can't be written to ({error.strerror}). Set CIFARNET_CACHE to a folder with"
            f" {remote.size:,} bytes free."
        ) from error
    raise DownloadError(
        f"{remote.name} could not be downloaded.\n  "
        + "\n  ".join(failures)
        + "\nTry again later (a part that has arrived is kept), or name another address with --mirror URL."
        f" Without a connection, get {remote.url} elsewhere ({remote.size:,} bytes, SHA-256 {remote.sha256})"
        f" and save it as {folder / remote.name}"
    )


@contextmanager
def _alone(remote: RemoteFile, folder: Path, report: Progress) -> Iterator[None]:
    """Hold the download of ``remote`` into ``folder``: two processes would write into one part."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f".{remote.name}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, timeout=0))
        except TimeoutError:
            report(f"Waiting for another process that downloads {remote.name}", 0, None)
            stack.enter_context(locked(lock, _LONGEST_DOWNLOAD))
        yield


def _addresses(remote: RemoteFile, mirrors: Sequence[str]) -> Iterator[str]:
    from_environment = (url.strip() for url in os.environ.get("CIFARNET_MIRROR", "").split(","))
    for url in (*mirrors, *filter(None, from_environment), remote.url):
        yield url + remote.name if url.endswith("/") else url


class _Download:
    """A download into ``part``, which goes on from what is there."""

    def __init__(self, remote: RemoteFile, part: Path, report: Progress, timeout: tuple[float, float]):
        self.remote, self.part, self.report, self.timeout = remote, part, report, timeout

    def go_on(self, url: str) -> None:
        """Complete the part from ``url``.

        Raises:
            RequestException: when the address does not answer with the whole file.
            DownloadError: when it answers with something else. The part is deleted then.
        """
        from requests import ConnectionError, Timeout
        from requests.exceptions import ChunkedEncodingError

        self.part.touch()
        while True:
            reached = self.part.stat().st_size
            try:
                self._append(url)
                break
            except (ConnectionError, Timeout, ChunkedEncodingError):
                # A long download is often cut: go on as long as every try brings more.
                if self.part.stat().st_size <= reached:
                    raise
        if sha256_of(self.part) != self.remote.sha256:
            self.part.unlink()
            raise DownloadError("the SHA-256 of what it gave is another one")

    def _append(self, url: str) -> None:
        """Append what is missing to the part, or all of it where the server can't send a range."""
        import requests

        start = self.part.stat().st_size
        if start == self.remote.size:
            return
        if start > self.remote.size:
            start = 0
        # Identity: a server that compresses on the way would make lengths incomparable.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            done = start if resumed else 0
            self._check(response.headers, done, resumed)
            with self.part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    if done > self.remote.size:
                        break
                    self.report(f"Downloading {self.remote.name}", done, self.remote.size)
        if done != self.remote.size:
            self.part.unlink()
            raise DownloadError(f"sent {done:,} bytes instead of {self.remote.size:,}")

    def _check(self, headers: Mapping[str, str], start: int, resumed: bool) -> None:
        """Refuse an answer that can't be the file before it touches what has arrived."""
        if headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError("answered with a web page instead of the file")
        if resumed and not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise DownloadError(f"sent another range ({headers.get('Content-Range')}) than the one asked for")
        length = headers.get("Content-Length", "")
        # As text: Python converts no number of more than 4,300 digits.
        if length.isdecimal() and length.lstrip("0") != str(self.remote.size - start):
            raise DownloadError(f"offers {int(length[:20]):,} bytes instead of {self.remote.size - start:,}")


def _reason(error: Exception) -> str:
    """Why an address failed, without the nested exceptions that requests puts in its messages."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection, or it was cut"
    return str(error)
