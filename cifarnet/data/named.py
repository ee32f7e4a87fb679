"""Data sources that have a name. A new one is a row of ``NAMED``, with a module if it is no official data set.

This module imports none that reads images: names are needed where no images are read.
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
            the images. ``argument`` is the text after a colon. It is None for an official data set, whose argument is
            the path of its files.
        class_names: the classes, where they are known without the images.
        wanted: the official data set, and its labels, that the files must hold.
    """

    forms: str
    module: str | None = None
    class_names: tuple[str, ...] | None = None
    wanted: Wanted | None = None

    def open(
        self, argument: str, image_size: int, seed: int, mirrors: Sequence[str], report: "Progress"
    ) -> "Parts | Path":
        """Return the images, or the path of the files to read them from."""
        if self.wanted is None:
            function: Callable[..., Parts | Path] = importlib.import_module(str(self.module)).open_source
            return function(argument, image_size, seed, mirrors, report)
        from cifarnet.data.copies import find_or_fetch

        return Path(argument) if argument else find_or_fetch(self.wanted.dataset, mirrors, report)


def _official(name: str, wanted: Wanted) -> NamedSource:
    return NamedSource(name, class_names=wanted.labels.class_names, wanted=wanted)


NAMED = {
    "cifar10": _official("cifar10", Wanted(CIFAR10, CIFAR10.labels[0])),
    "cifar100": _official("cifar100", Wanted(CIFAR100, CIFAR100.labels[0])),
    "cifar100-coarse": _official("cifar100-coarse", Wanted(CIFAR100, CIFAR100.labels[1])),
    "synthetic": NamedSource("synthetic, synthetic:N (N training images)", "cifarnet.data.synthetic"),
}

FORMS = ", ".join(source.forms for source in NAMED.values())
"""The forms of all names, for messages."""


def find_named(source: str) -> tuple[NamedSource, str] | None:
    """Return the named source that the text ``source`` means, with its argument; None when ``source`` is a path."""
    name, _, argument = source.partition(":")
    return (NAMED[name], argument) if name in NAMED else None


def path_in(source: str) -> tuple[str, str] | None:
    """Return the path in ``source`` and the text before it: for a path ``("", path)``, for ``cifar100:PATH`` both.

    The result is None for a name without a path.
    """
    if (found := find_named(source)) is None:
        return "", source
    kind, argument = found
    return (source.removesuffix(argument), argument) if kind.wanted and argument else None


def other_labels(wanted: Wanted) -> dict[str, NamedSource]:
    """Return the names of the same data set with other labels."""
    return {
        name: source
        for name, source in NAMED.items()
        if source.wanted and source.wanted.dataset is wanted.dataset and source.wanted != wanted
    }
