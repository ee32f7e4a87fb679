"""Archives that somebody made with intent. Each holds the innocent images of ``image_folder`` besides."""

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.support.datasets import assert_same, image_folder

Maker = Callable[[Path, Path], None]

BOMB = 300 * 2**20


def picture() -> bytes:
    """A picture that no innocent archive has: green."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (0, 255, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _tar(add: Callable[[tarfile.TarFile, Path], None], mode: str = "w:gz") -> Maker:
    def make(path: Path, outside: Path) -> None:
        with tarfile.open(path, mode) as archive:
            archive.add(image_folder(outside / "innocent"), ".")
            add(archive, outside)

    return make


def _zip(add: Callable[[zipfile.ZipFile, Path], None]) -> Maker:
    def make(path: Path, outside: Path) -> None:
        root = image_folder(outside / "innocent")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*.png")):
                archive.write(file, file.relative_to(root))
            add(archive, outside)

    return make


def _member(name: str, content: bytes | None = None, **fields: object) -> Callable[[tarfile.TarFile, Path], None]:
    def add(archive: tarfile.TarFile, outside: Path) -> None:
        info = tarfile.TarInfo(name.format(outside=outside))
        data = picture() if content is None else content
        info.size = len(data)
        for field, value in fields.items():
            setattr(info, field, value.format(outside=outside) if isinstance(value, str) else value)
        archive.addfile(info, io.BytesIO(data) if info.isreg() else None)

    return add


def _link(kind: bytes, target: str) -> Callable[[tarfile.TarFile, Path], None]:
    return _member("train/cat/link.png", b"", type=kind, linkname=target)


def _device(kind: bytes) -> Callable[[tarfile.TarFile, Path], None]:
    return _member("train/cat/device.png", b"", type=kind, devmajor=1, devminor=5)


def _doubling_links(archive: tarfile.TarFile, outside: Path) -> None:
    """Two links in each of 40 folders to the next one: 2^40 folders below the first."""
    for level in range(40):
        for name in ("a", "b"):
            _member(f".levels/{level}/{name}", b"", type=tarfile.SYMTYPE, linkname=f"../{level + 1}")(archive, outside)
    _member(".levels/40/x.png")(archive, outside)
    _link(tarfile.SYMTYPE, "../../.levels/0")(archive, outside)


def _through_a_link(archive: tarfile.TarFile, outside: Path) -> None:
    _member("train/cat/door", b"", type=tarfile.SYMTYPE, linkname=str(outside))(archive, outside)
    _member("train/cat/door/written.png")(archive, outside)


def _zip_link(archive: zipfile.ZipFile, outside: Path) -> None:
    info = zipfile.ZipInfo("train/cat/link.png")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    archive.writestr(info, str(outside / "secret.png"))


def _zip_member(name: str) -> Callable[[zipfile.ZipFile, Path], None]:
    return lambda archive, outside: archive.writestr(name.format(outside=outside), picture())


def _zip_twice(archive: zipfile.ZipFile, outside: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("train/cat/0.png", picture())


def _tar_bomb(archive: tarfile.TarFile, outside: Path) -> None:
    info = tarfile.TarInfo("train/cat/bomb.png")
    info.size = BOMB
    archive.addfile(info, _Zeros())


class _Zeros:
    def read(self, count: int) -> bytes:
        return bytes(count)


def _sparse_bomb(path: Path, outside: Path) -> None:
    """A GNU sparse member that claims 2^40 bytes."""
    root = image_folder(outside / "innocent")
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(root, ".")
        info = tarfile.TarInfo("train/cat/sparse.png")
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.name": "train/cat/sparse.png",
            "GNU.sparse.size": str(2**40),
            "GNU.sparse.map": "0,0",
        }
        archive.addfile(info, io.BytesIO(b""))


def _nested(archive: zipfile.ZipFile, outside: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as deeper:
        deeper.writestr("../../escaped.png", picture())
    archive.writestr("train/cat/inner.zip", inner.getvalue())


INNOCENT = "the innocent images alone"
ONE_MORE = "the innocent images and another one, from the archive itself"
REFUSED = "refused"

CRAFTED: dict[str, tuple[Maker, str, str]] = {
    # name: (maker, suffix, what must come of it)
    "tar: ../ in a name": (_tar(_member("../escaped.png")), "tar.gz", INNOCENT),
    "tar: ../ deep in a name": (_tar(_member("train/cat/../../../escaped.png")), "tar.gz", INNOCENT),
    "tar: an absolute name": (_tar(_member("{outside}/escaped.png")), "tar.gz", INNOCENT),
    "tar: a symbolic link": (_tar(_link(tarfile.SYMTYPE, "{outside}/secret.png")), "tar.gz", INNOCENT),
    "tar: a hard link": (_tar(_link(tarfile.LNKTYPE, "{outside}/secret.png")), "tar.gz", INNOCENT),
    "tar: a symbolic link to itself": (_tar(_link(tarfile.SYMTYPE, "link.png")), "tar.gz", INNOCENT),
    "tar: a file behind a link to a folder": (_tar(_through_a_link), "tar.gz", ONE_MORE),
    "tar: a symbolic link through a parent": (_tar(_link(tarfile.SYMTYPE, "../../../../x")), "tar.gz", INNOCENT),
    "tar: a symbolic link to all": (_tar(_link(tarfile.SYMTYPE, "../..")), "tar.gz", INNOCENT),
    "tar: links that double": (_tar(_doubling_links), "tar.gz", REFUSED),
    "tar: a character device": (_tar(_device(tarfile.CHRTYPE)), "tar.gz", INNOCENT),
    "tar: a block device": (_tar(_device(tarfile.BLKTYPE)), "tar.gz", INNOCENT),
    "tar: a named pipe": (_tar(_device(tarfile.FIFOTYPE)), "tar.gz", INNOCENT),
    "tar: a name twice": (_tar(_member("train/cat/0.png")), "tar.gz", REFUSED),
    "tar: 300 MiB of zeros, gzip": (_tar(_tar_bomb), "tar.gz", REFUSED),
    "tar: 300 MiB of zeros, xz": (_tar(_tar_bomb, "w:xz"), "tar.xz", REFUSED),
    "tar: a sparse file of 1 TiB": (_sparse_bomb, "tar", REFUSED),
    "zip: ../ in a name": (_zip(_zip_member("../escaped.png")), "zip", INNOCENT),
    "zip: an absolute name": (_zip(_zip_member("{outside}/escaped.png")), "zip", INNOCENT),
    "zip: a name with backslashes": (_zip(_zip_member("..\\..\\escaped.png")), "zip", INNOCENT),
    "zip: a symbolic link": (_zip(_zip_link), "zip", INNOCENT),
    "zip: a name twice": (_zip(_zip_twice), "zip", REFUSED),
    "zip: 300 MiB of zeros": (
        _zip(lambda archive, _: archive.writestr("train/cat/b.png", bytes(BOMB))),
        "zip",
        REFUSED,
    ),
    "zip: a zip within": (_zip(_nested), "zip", INNOCENT),
}

REFUSALS = {
    "tar: a name twice": "holds train/cat/0.png twice",
    "tar: 300 MiB of zeros, gzip": "at train/cat/bomb.png: it looks like a decompression bomb",
    "tar: 300 MiB of zeros, xz": "at train/cat/bomb.png: it looks like a decompression bomb",
    "tar: links that double": "it looks like a decompression bomb",
    "tar: a sparse file of 1 TiB": "at train/cat/sparse.png: it looks like a decompression bomb",
    "zip: a name twice": "holds train/cat/0.png twice",
    "zip: 300 MiB of zeros": "at train/cat/b.png: it looks like a decompression bomb",
}


def try_crafted(name: str, folder: Path) -> int:
    """Make the crafted archive ``name`` in ``folder`` and read it; the bytes of memory that reading took at most.

    Fails unless what must come of it does, and nothing is written but into a cache in ``folder``.
    """
    make, suffix, outcome = CRAFTED[name]
    outside, archive = folder / "outside", folder / f"crafted.{suffix}"
    outside.mkdir(parents=True)
    (outside / "secret.png").write_bytes(picture())
    make(archive, outside)
    before, found, refusal = _files(folder), None, ""
    # What Python allocates, rather than the process's memory, whose peak may be that of an earlier archive.
    tracemalloc.start()
    try:
        found = load_data(str(archive))
    except DataError as error:
        refusal = str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if outcome == REFUSED:
        assert refusal.startswith(str(archive))
        assert REFUSALS[name] in refusal
    else:
        assert found is not None, refusal
        innocent = load_data(str(outside / "innocent"))
        if outcome == INNOCENT:
            assert_same(found, innocent)
        else:
            assert len(found.train) == len(innocent.train) + 1
    assert _files(folder) == before, name
    return peak


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "cache" not in path.relative_to(folder).parts}
