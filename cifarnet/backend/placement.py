"""The devices that a training run asks for: the option ``--devices`` as data."""

import os
import re
from dataclasses import dataclass
from typing import Self

from cifarnet.backend.gpus import visible_gpus
from cifarnet.errors import BackendError, invalid
from cifarnet.json_files import shown
from cifarnet.plurals import counted

FORMS = "auto, cpu, cpu:N, gpu, gpu:0,1, or a number of devices"
MOST_DEVICES = 4096
"""The largest number of devices of a run."""

_FORM = re.compile(
    r"auto|cpu(?::(?P<cpus>[0-9]{1,6}))?|gpu(?::(?P<gpus>[0-9]{1,4}(?:,[0-9]{1,4})*))?|(?P<count>[0-9]{1,6})"
)
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Placement:
    """The devices that are asked for.

    Attributes:
        kind: ``cpu``, ``gpu``, or ``auto`` for GPUs if there are any and otherwise the CPU.
        count: the number of devices; None for one, or with the kind ``gpu`` for all.
        gpus: the numbers of the GPUs, counted from 0 among those that the process sees; none for the first ones.
    """

    kind: str = "auto"
    count: int | None = None
    gpus: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the placement for ``text``: ``auto``, ``cpu``, ``cpu:2``, ``gpu``, ``gpu:0,1``, or ``2``.

        Raises:
            InvalidValueError: for any other text.
        """
        match = _FORM.fullmatch(str(text)) if isinstance(text, str | int) and not isinstance(text, bool) else None
        if match is None:
            raise invalid("devices", f"must be {FORMS}", text, valid=FORMS, received=shown(text))
        count = match["count"] or match["cpus"]
        gpus = tuple(int(gpu) for gpu in (match["gpus"] or "").split(",") if gpu)
        if len(set(gpus)) != len(gpus):
            raise invalid("devices", "must name each GPU once", text, received=shown(text))
        if count and not 1 <= int(count) <= MOST_DEVICES:
            raise invalid("devices", f"must be 1 to {MOST_DEVICES:,} devices", text, received=shown(text))
        kind = "auto" if match["count"] else str(text).partition(":")[0]
        return cls(kind, int(count) if count else len(gpus) or None, gpus)

    def claim(self) -> None:
        """Hide the GPUs that are not asked for. Call it before the backend starts, which sees the others alone.

        Raises:
            InvalidValueError: when a GPU is asked for that the variable CUDA_VISIBLE_DEVICES does not list.
        """
        if self.kind == "cpu":
            os.environ[_VISIBLE] = ""
            os.environ["JAX_PLATFORMS"] = "cpu"
        elif self.gpus:
            found = os.environ.get(_VISIBLE)
            # How many GPUs there are without the variable is not known yet.
            visible = visible_gpus(found, max(self.gpus) + 1)
            if max(self.gpus) >= len(visible):
                problem = f"counts the GPUs that {_VISIBLE} lists, from 0: {found or 'none'}"
                raise invalid("devices", problem, self.gpus, received=str(self))
            os.environ[_VISIBLE] = ",".join(visible[gpu] for gpu in self.gpus)

    def number_of(self, gpus: int) -> tuple[str, int]:
        """Return the kind and the number of the devices on a machine where the backend sees ``gpus`` GPUs.

        Raises:
            BackendError: when more GPUs are asked for than there are.
        """
        kind = ("gpu" if gpus else "cpu") if self.kind == "auto" else self.kind
        if kind == "cpu":
            return kind, self.count or 1
        count = self.count or (1 if self.kind == "auto" else max(1, gpus))
        if count > gpus:
            found = "no GPU" if not gpus else counted(gpus, "GPU")
            raise BackendError(
                f"The backend sees {found}. Give `devices`"
                f" {'gpu to use every GPU' if gpus else 'cpu to use the CPU'}. Received: `devices` {self}"
            )
        return kind, count

    def __str__(self) -> str:
        if self.gpus:
            return f"gpu:{','.join(map(str, self.gpus))}"
        if self.count is None:
            return self.kind
        return str(self.count) if self.kind == "auto" else f"{self.kind}:{self.count}"
