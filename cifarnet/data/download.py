"""Downloads files with known checksums: resumable, from the first of several addresses that works."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cifarnet.data.progress import Progress, silent
from cifarnet.errors import DataError, DownloadError, NoHomeError
from cifarnet.files import move_into_place, sha256_of
from cifarnet.locking import locked
from cifarnet.paths import cache_dir

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for more bytes on an open connection."""

_CHUNK = 1 << 18

# Seconds to wait for another process that is downloading the same file.
_LONGEST_DOWNLOAD = 3600.0


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web: its name, address, size in bytes and SHA-256."""

    name: str
    url: str
    size: int
    sha256: str

    def is_intact(self, path: Path) -> bool:
        """Return whether the file at ``path`` has the right size and checksum."""
        return os.path.isfile(path) and path.stat().st_size == self.size and sha256_of(path) == self.sha256


def cached(remote: RemoteFile) -> Path | None:
    """Return the path of ``remote`` in the cache directory; None if it is missing or damaged."""
    with suppress(NoHomeError):
        path = cache_dir() / remote.name
        if remote.is_intact(path):
            return path
    return None


def verified(paths: Iterable[Path], sha256: str) -> Path | None:
    """Return the first of ``paths`` that is a file with the checksum ``sha256``; None if there is none."""
    return next((path for path in paths if os.path.isfile(path) and sha256_of(path) == sha256), None)


def fetch(
    remote: RemoteFile,
    folder: Path,
    *,
    mirrors: Sequence[str] = (),
    report: Progress = silent,
    timeout: tuple[float, float] = TIMEOUT,
) -> Path:
    """Return the path of ``remote`` in ``folder``, downloading it unless an intact copy is there.

    The addresses are ``mirrors``, then those in $CIFARNET_MIRROR (separated by commas), then the file's own. An address
    that ends with a slash is a directory that contains the file. An interrupted download is kept as ``<name>.part`` and
    continued, also by a later call. The file is renamed to its final name after its checksum has been verified.

    Raises:
        DownloadError: when every address fails. The message has the reasons, and how to install the file manually.
        DataError: when ``folder`` can't be written to, or another process takes too long to download the file.
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
                    _Download(remote, part, report, timeout).complete(url)
                    move_into_place(part, target)
                    return target
                except (RequestException, DownloadError, ValueError) as error:  # ValueError: not a web address.
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
        + "\nTry again later (the part that has arrived is kept), or give another address with `mirrors` URL."
        f" Without a connection, get {remote.url} elsewhere ({remote.size:,} bytes, SHA-256 {remote.sha256})"
        f" and save it as {folder / remote.name}"
    )


@contextmanager
def _alone(remote: RemoteFile, folder: Path, report: Progress) -> Iterator[None]:
    """Hold a lock on the download of ``remote`` into ``folder``, so that two processes don't write to one file."""
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
    """A download into the file ``part``, which continues an earlier one."""

    def __init__(self, remote: RemoteFile, part: Path, report: Progress, timeout: tuple[float, float]):
        self.remote, self.part, self.report, self.timeout = remote, part, report, timeout

    def complete(self, url: str) -> None:
        """Complete the part from ``url``.

        Raises:
            RequestException: when the address does not answer with the whole file.
            DownloadError: when it answers with another file. The part is deleted then.
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
                # Long downloads are often cut. Continue as long as every attempt adds bytes.
                if self.part.stat().st_size <= reached:
                    raise
        if sha256_of(self.part) != self.remote.sha256:
            self.part.unlink()
            raise DownloadError("sent a file with another SHA-256")

    def _append(self, url: str) -> None:
        """Append the missing bytes to the part, or download all if the server doesn't support ranges."""
        import requests

        start = self.part.stat().st_size
        if start == self.remote.size:
            return
        if start > self.remote.size:
            start = 0
        # Identity: if the server compressed the response, its length would not be that of the file.
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
        """Refuse a response that can't be the file, before anything is overwritten."""
        if headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError("answered with a web page instead of the file")
        if resumed and not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise DownloadError(f"sent another range ({headers.get('Content-Range')}) than the one asked for")
        length = headers.get("Content-Length", "")
        # Compared as text: Python does not convert numbers with more than 4,300 digits.
        if length.isdecimal() and length.lstrip("0") != str(self.remote.size - start):
            raise DownloadError(f"offers {int(length[:20]):,} bytes instead of {self.remote.size - start:,}")


def _reason(error: Exception) -> str:
    """Return why an address failed, without the nested exceptions in the messages of requests."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection, or it was cut"
    return str(error)
