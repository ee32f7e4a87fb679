"""A run directory as an object: each of its files is read and checked once."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, Self

from cifarnet.errors import BudgetError, InvalidValueError, LostRunError, RunError, without_marks
from cifarnet.fields import typed_fields
from cifarnet.files import StrPath, as_path, is_leftover, remove_leftovers
from cifarnet.json_files import shown
from cifarnet.plurals import verb
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.lock import FILES as LOCK_FILES
from cifarnet.runs.lock import run_lock
from cifarnet.runs.provenance import TrainedOn
from cifarnet.shell import command_line


class Run:
    """The run in the directory ``path``.

    Files are read on first use, and their content is kept, even if the file changes later. ``write_config`` and
    ``write_metrics`` keep what they write. All properties except ``path`` raise a ``RunError`` for a damaged file.
    """

    def __init__(self, path: StrPath):
        self.path = as_path(path, "directory")
        self.require_in_place: Callable[[], None] = lambda: None
        """Raise a ``LostRunError`` if the directory was deleted, moved or replaced since it was locked."""

    @classmethod
    def open(cls, path: StrPath) -> Self:
        """Return the run in ``path``.

        Raises:
            RunError: when there is no run, or its config.json is damaged.
        """
        run = cls(path)
        _ = run.record
        return run

    @classmethod
    @contextmanager
    def create(cls, path: StrPath, config: RunConfig) -> Iterator[Self]:
        """Create and lock a run in ``path``, which must be new or empty, and yield it.

        Temporary files of a killed process are removed. A run that ends with a ``BudgetError`` before its first step is
        removed too, so that its directory can be used again.

        Raises:
            RunError: when another process holds the directory, or it is not empty.
            StorageError: when the directory can't be written to.
        """
        run = cls(path)
        with run.locked(is_new=True):
            run.require_unused()
            remove_leftovers(run.path)
            run.write_config(config)
            try:
                yield run
            except BudgetError:
                run._remove_untrained()
                raise

    @contextmanager
    def locked(self, *, is_new: bool = False) -> Iterator[None]:
        """Lock the run, so that no other process trains in it. Arguments and errors are those of ``run_lock``."""
        with run_lock(self.path, is_new=is_new) as self.require_in_place:
            try:
                yield
            finally:
                self.require_in_place = lambda: None

    def require_unused(self) -> None:
        """Check that the directory is new, or has only locks and temporary files of a killed process.

        Raises:
            RunError: when it has other files. The message gives the next step.
        """
        path = self.path
        if not path.exists():
            return
        if path.is_dir() and all(each.name in LOCK_FILES or is_leftover(each) for each in path.iterdir()):
            return
        next_step = "."
        if (path / files.CONFIG).exists():
            next_step = f", or continue its run: {command_line('train', '--resume', path)}"
            if self.result is not None:
                next_step = ": it has a finished run."
        raise RunError(f"{path} exists and is not an empty folder. Choose another `directory`{next_step}")

    def is_interrupted(self, request_sha256: str) -> bool:
        """Return whether this is a run of the request with this digest that has no result yet."""
        if not (self.path / files.CONFIG).is_file():
            return False
        with suppress(RunError):  # ``require_unused`` refuses a damaged run.
            return self.record.get("request_sha256") == request_sha256 and self.result is None
        return False

    def require_result(self) -> None:
        """Check that the result that was just written is still there.

        Raises:
            LostRunError: when it was deleted or moved.
        """
        required = (files.CONFIG, files.WEIGHTS, files.METRICS)
        if lost := [name for name in required if not (self.path / name).is_file()]:
            raise LostRunError(
                f"The run in {self.path} was finished, but {' and '.join(lost)} {verb(len(lost), 'is', 'are')} no"
                " longer there: deleted or moved since. Look for the moved directory, or train again."
            )

    def remove_leftovers(self) -> None:
        """Delete temporary files of a killed process. The run must be locked."""
        remove_leftovers(self.path)
        remove_leftovers(self.path / files.PLOTS)

    def _remove_untrained(self) -> None:
        """Remove the locked run if its only checkpoint is that of the initial weights."""
        if any((self.path / name).exists() for name in (files.WEIGHTS, files.BEST_WEIGHTS, files.PREVIOUS_CHECKPOINT)):
            return
        shutil.rmtree(self.path / files.TENSORBOARD, ignore_errors=True)
        with suppress(OSError):
            for name in (files.CHECKPOINT, files.CONFIG, *LOCK_FILES):
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()

    @cached_property
    def record(self) -> dict[str, Any]:
        """The fields of config.json without its checksum."""
        return files.read_config(self.path)

    @cached_property
    def config(self) -> RunConfig:
        """The run's configuration."""
        try:
            return RunConfig.from_dict(self.record)
        except InvalidValueError as error:
            raise self._invalid(str(error)) from error

    @property
    def version(self) -> str | None:
        """The version of cifarnet that started the run; None if config.json does not have it."""
        version = self.record.get("cifarnet")
        if not isinstance(version, str | None):
            raise self._invalid(f"cifarnet must be a text. Received: {shown(version)}")
        return version

    @cached_property
    def trained_on(self) -> TrainedOn | None:
        """The images that the run is trained on; None if config.json does not have them."""
        if "data" not in self.record:
            return None
        try:
            return TrainedOn.from_dict(self.record)
        except InvalidValueError as error:
            raise self._invalid(str(error)) from error

    @cached_property
    def history(self) -> list[dict[str, float | None]]:
        """The rows of history.csv by column, None for empty fields. There are no rows before the first epoch."""
        return files.read_history(self.path)

    @property
    def held_out(self) -> str:
        """The kind of the held-out images: ``validation`` or ``test``."""
        return files.held_out_name(self.history)

    @cached_property
    def metrics(self) -> dict[str, Any] | None:
        """The content of metrics.json; None if there is no such file."""
        return files.read_metrics(self.path) if (self.path / files.METRICS).exists() else None

    @cached_property
    def stored_result(self) -> files.StoredResult | None:
        """The result in metrics.json, also that of an earlier length; None if there is no result."""
        if self.metrics is None:
            return None
        try:
            return files.StoredResult(**typed_fields(files.StoredResult, self.metrics, "A result", others=True))
        except InvalidValueError as error:
            raise files.damaged_metrics(self.path, str(error)) from error

    @property
    def result(self) -> files.StoredResult | None:
        """The result; None if the run has no result of the length in config.json.

        A finished run that is made longer keeps its first result until the next one replaces it.
        """
        # Before 0.2 runs could not be made longer, and metrics.json has no length.
        found, recipe = self.stored_result, self.record.get("recipe")
        if found and found.length is not None and isinstance(recipe, dict):
            length = {name: recipe.get(name) for name in ("epochs", "steps")}
            return found if found.length == length else None
        return found

    def result_values(self, *names: str) -> list[float] | None:
        """Return numbers of the ``result`` by their ``names``; None without a result.

        Raises:
            RunError: when a number is missing.
        """
        if self.result is None:
            return None
        if missing := [name for name in names if getattr(self.result, name) is None]:
            raise files.damaged_metrics(self.path, f"it has no {', '.join(missing)}")
        return [getattr(self.result, name) for name in names]

    @property
    def missing_pictures(self) -> list[str]:
        """The names of the plots and the page that are missing or show an earlier result."""
        missing = [f"{files.PLOTS}/{name}{kind}" for name in files.PLOT_NAMES for kind in (".png", ".svg")]
        missing = [name for name in missing if not (self.path / name).is_file()]
        try:
            # The page is written last, and names the SHA-256 of its weights.
            weights = str(self.result and self.result.weights_sha256)
            page = (self.path / files.REPORT).read_text(encoding="utf-8")
            is_current = weights[: files.SHOWN_DIGITS] in page
        except (OSError, ValueError):
            is_current = False
        return missing if is_current else [*missing, files.REPORT]

    def write_config(self, config: RunConfig) -> None:
        """Write config.json, with the version of cifarnet that started the run.

        Raises:
            StorageError: when it can't be written.
        """
        begun = {"cifarnet": self.__dict__["record"].get("cifarnet")} if "record" in self.__dict__ else {}
        self.record = {**config.to_dict(), **begun}
        files.write_config(self.path, self.record)
        self.config = config
        self.__dict__.pop("trained_on", None)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json.

        Raises:
            StorageError: when it can't be written.
        """
        files.write_metrics(self.path, metrics)
        self.metrics = metrics
        self.__dict__.pop("stored_result", None)

    def _invalid(self, what: str) -> RunError:
        return RunError(f"{self.path / files.CONFIG} is not a valid run configuration: {without_marks(what)}")


class FollowedRun(Run):
    """A run that another process writes. This one trains the same steps, and writes nothing.

    ``path`` is where that process was asked to write, which may be on another machine.
    """

    def __init__(self, path: StrPath, config: RunConfig):
        super().__init__(path)
        self.record = config.to_dict()
        self.config = config

    def write_config(self, config: RunConfig) -> None:
        """Keep ``config``, and write nothing."""
        self.record, self.config = config.to_dict(), config

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Keep ``metrics``, and write nothing."""
        self.metrics = metrics
        self.__dict__.pop("stored_result", None)
