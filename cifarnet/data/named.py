"""Data sources that have a name. A new one is one module and one row of ``NAMED``.

This module imports none of theirs: names are needed where no images are read.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cifarnet.data.official_names import CIFAR10, CIFAR100, Wanted

if TYPE_CHECKING:
    from cifarnet.data.dataset import Parts
    from cifarnet.data.progress import Progress


@dataclass(frozen=True)
class NamedSource:
    """A data source with a name.

    Attributes:
        forms: the forms of the name, for messages.
        module: the module with the function ``open_source(argument, image_size, seed, mirrors, report)``, which returns
            the images, or the path of the files to read them from. ``argument`` is the text after the colon. For an
            official data set it also has ``download(mirrors, report)``.
        takes_argument: whether a colon and an argument may follow the name.
        class_names: the classes, where they are known without the images.
        wanted: the official data set, and its labels, that the files must hold.
    """

    forms: str
    module: str
    takes_argument: bool = False
    class_names: tuple[str, ...] | None = None
    wanted: Wanted | None = None

    def open(
        self, argument: str, image_size: int, seed: int, mirrors: Sequence[str], report: "Progress"
    ) -> "Parts | Path":
        """Return the images, or the path of the files to read them from."""
        function: Callable[..., Parts | Path] = importlib.import_module(self.module).open_source
        return function(argument, image_size, seed, mirrors, report)

    def download(self, mirrors: Sequence[str], report: "Progress") -> "Path":
        """Return the path of the archive of an official data set in the cache, after a download if it is missing.

        Raises:
            DownloadError: when every address fails.
            NoHomeError: when there is no cache directory.
        """
        function: Callable[..., Path] = importlib.import_module(self.module).download
        return function(mirrors, report)


def _official(name: str, module: str, wanted: Wanted) -> NamedSource:
    return NamedSource(name, module, class_names=wanted.labels.class_names, wanted=wanted)


NAMED = {
    "cifar10": _official("cifar10", "cifarnet.data.cifar10", Wanted(CIFAR10, CIFAR10.labels[0])),
    "cifar100": _official("cifar100", "cifarnet.data.cifar100", Wanted(CIFAR100, CIFAR100.labels[0])),
    "cifar100-coarse": _official("cifar100-coarse", "cifarnet.data.cifar100", Wanted(CIFAR100, CIFAR100.labels[1])),
    "synthetic": NamedSource(
        "synthetic, synthetic:N (N training images)", "cifarnet.data.synthetic", takes_argument=True
    ),
}

FORMS = ", ".join(source.forms for source in NAMED.values())
"""The forms of all names, for messages."""


def find_named(source: str) -> tuple[NamedSource, str] | None:
    """Return the named source that the text ``source`` means, with its argument; None when ``source`` is a path."""
    name, colon, argument = source.partition(":")
    found = NAMED.get(name)
    return (found, argument) if found and (not colon or found.takes_argument) else None
