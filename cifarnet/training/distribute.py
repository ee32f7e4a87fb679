"""Strategies: how a run uses its devices. One device is the identity, so that the loop has one code path.

Batches are split over the devices (data parallelism), by Keras's ``DataParallel`` on JAX and by
``tf.distribute.MirroredStrategy`` on TensorFlow. The gradient of a batch and the moments of its batch normalization are
those of one device, up to rounding.
"""

import faulthandler
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from cifarnet.backend.cluster import Cluster
from cifarnet.backend.placement import Placement
from cifarnet.errors import BackendError, RunError, invalid
from cifarnet.models.layers import leaves
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.runs.config import RunConfig

_SAME_COMMAND = "Start all of them with the same command and environment"


class Strategy:
    """A run on one device, and the interface of the others.

    Attributes:
        devices: the number of devices, of all processes.
        processes: the number of processes.
        is_writer: whether this process writes the run directory.
        synchronized: whether layers of batch normalization must exchange their moments themselves.
        compiles: whether XLA can compile the step.
    """

    devices = 1
    processes = 1
    is_writer = True
    synchronized = False
    compiles = True

    def require_trainable(self, config: RunConfig, spec: ModelSpec) -> None:
        """Check that the run of ``config`` can be trained on these devices.

        Raises:
            InvalidValueError: when it needs one device.
        """

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which the training model is built and trained."""
        return nullcontext()

    def split(self, batch: Any) -> Any:
        """Return arrays of a batch, in a step that is traced, as they are spread over the devices."""
        return batch

    def following(self, array: Any) -> Any:
        """Return ``array`` moved by one image: each image gets the row of the next one, and the last that of the first.

        ``array`` has a row for each image, spread over the devices as by ``split``. The next image of a batch may be on
        another device.
        """
        from keras import ops

        return ops.roll(array, -1, axis=0)

    def mean(self, losses: Any) -> Any:
        """Return this device's part of the mean of the ``losses`` of a batch. The parts add up to the mean."""
        from keras import ops

        return ops.mean(losses)

    def share(self, penalty: Any) -> Any:
        """Return this device's part of a ``penalty``, which all devices compute."""
        return penalty

    def values(self, variable: Any) -> np.ndarray:
        """Return the value of a metric's variable: one array, or one row for each device that has its own."""
        from keras import ops

        value: np.ndarray = np.array(ops.convert_to_numpy(variable))
        return value

    def assign(self, variable: Any, values: np.ndarray) -> None:
        """Assign what ``values`` returned, for this or another number of devices, to a metric's variable."""
        variable.assign(values.sum(axis=0) if values.ndim > len(variable.shape) else values)

    def of_writer(self, *numbers: float) -> tuple[float, ...]:
        """Return the ``numbers`` of the process that writes. All processes must call it at the same step."""
        return numbers

    def largest(self, number: float) -> float:
        """Return the largest ``number`` of all processes. All processes must call it at the same step."""
        return number

    def require_same(self, what: str, text: str, remedy: str = _SAME_COMMAND) -> None:
        """Check that all processes have the same ``text`` of ``what``.

        Raises:
            RunError: when one has another. The message has the ``remedy``.
        """

    def together(self) -> AbstractContextManager[None]:
        """Return the context of work that needs all processes."""
        return nullcontext()


class JaxDataParallel(Strategy):
    """Data parallelism on JAX, over devices of one or several processes.

    Every device gets the row numbers and random draws of the whole batch, which are small, and takes its part in the
    step. XLA computes all sums over the whole batch, so batch normalization and dropout are those of one device. A
    batch that does not divide, such as the last one of an epoch, is computed by every device.
    """

    def __init__(self, kind: str, count: int, cluster: Cluster | None):
        """Use the first ``count`` devices of each process."""
        import jax

        if cluster and jax.device_count() != cluster.processes * jax.local_device_count():
            raise BackendError(
                "All processes of a run must see the same number of devices. Hide the others with the variable"
                f" CUDA_VISIBLE_DEVICES. Received: {jax.local_device_count()} in process {cluster.index},"
                f" {jax.device_count()} in all {cluster.processes}"
            )
        known = [[each for each in jax.devices(kind) if each.process_index == index] for index in _processes(cluster)]
        names = [f"{each.platform}:{each.id}" for of_process in known for each in of_process[:count]]
        self._distribution = _replicating()(devices=names, auto_shard_dataset=False)
        self.devices = int(self._distribution.num_model_replicas)
        self.processes = cluster.processes if cluster else 1
        self.is_writer = cluster is None or cluster.is_writer
        self._watched = False

    def require_trainable(self, config: RunConfig, spec: ModelSpec) -> None:
        """Refuse to train on features."""
        _refuse_features(config)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the scope of Keras's distribution."""
        scope: AbstractContextManager[Any] = self._distribution.scope()
        return scope

    @contextmanager
    def together(self) -> Iterator[None]:
        """End this process if it is stuck in the block. After an error of the connection, wait for JAX to act.

        JAX notices a process that has died, but for one whose Python thread is stuck the others would wait for ever
        (JAX issue 38503). So each ends itself when its own work between two exchanges takes too long.
        """
        self._watch(True)
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if self.processes == 1 or ("Gloo" not in str(error) and "NCCL" not in str(error)):
                raise
            # JAX ends this process when the heartbeats of another have been missing for so long.
            time.sleep(_HEARTBEAT + _MARGIN)
            raise BackendError(
                f"The connection to another process of the run is lost: {str(error).splitlines()[0]:.200}"
            ) from error
        finally:
            self._watch(False)

    def _watch(self, watched: bool) -> None:
        """Begin or end to watch this process, of several."""
        self._watched = watched and self.processes > 1
        if self._watched:
            # Into the file of the C++ output, in the process that trains.
            faulthandler.dump_traceback_later(_STUCK, exit=True, file=2)
        elif self.processes > 1:
            faulthandler.cancel_dump_traceback_later()

    def split(self, batch: Any) -> Any:
        """Return arrays of a batch with a device's part on each device."""
        import keras

        def part(array: Any) -> Any:
            if array.shape[0] % self.devices:
                return array
            axes = [self._distribution.batch_dim_name] + [None] * (len(array.shape) - 1)
            layout = keras.distribution.TensorLayout(axes, self._distribution.device_mesh)
            return keras.distribution.distribute_tensor(array, layout)

        return keras.tree.map_structure(part, batch)

    def of_writer(self, *numbers: float) -> tuple[float, ...]:
        """Return the ``numbers`` of process 0."""
        return tuple(self._gathered(*numbers)[0])

    def largest(self, number: float) -> float:
        """Return the largest ``number`` of all processes."""
        return float(self._gathered(number).max())

    def require_same(self, what: str, text: str, remedy: str = _SAME_COMMAND) -> None:
        """Check that all processes have the same ``text`` of ``what``.

        Raises:
            RunError: when one has another. The message has the ``remedy``.
        """
        digest = hashlib.sha256(text.encode()).digest()
        found = self._gathered(*np.frombuffer(digest, np.uint32))
        if others := [index for index, row in enumerate(found) if (row != found[0]).any()]:
            raise RunError(
                f"The processes of a run must have the same {what}. {remedy}. Received: another {what} in process"
                f" {', '.join(map(str, others))} than in process 0"
            )

    def _gathered(self, *numbers: float) -> np.ndarray:
        """Return the ``numbers`` of all processes: float64 (processes, numbers)."""
        mine = np.array([numbers], np.float64)
        if self.processes == 1:
            return mine
        from jax.experimental import multihost_utils

        # JAX rounds float64 to float32, so the numbers are sent as pairs of integers.
        watched = self._watched
        self._watch(False)  # Here it waits for the others, which watch themselves.
        found = np.asarray(multihost_utils.process_allgather(mine.view(np.uint32)[0]))
        self._watch(watched)
        return np.ascontiguousarray(found).view(np.float64)


class TensorflowMirrored(Strategy):
    """Data parallelism on TensorFlow, over devices of one process."""

    compiles = False

    def __init__(self, kind: str, count: int, synchronized: bool):
        import tensorflow as tf

        names = [f"{kind.upper()}:{index}" for index in range(count)]
        # The default for CPUs copies each gradient on its own through one device too, and warns that it does.
        reduction = tf.distribute.ReductionToOneDevice() if kind == "cpu" else None
        self._strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=reduction)
        self.devices = count
        self.synchronized = synchronized

    def require_trainable(self, config: RunConfig, spec: ModelSpec) -> None:
        """Refuse to train on features, to compile, and to draw random numbers on each device."""
        _refuse_features(config)
        if config.jit:
            raise invalid(
                "jit", "is not possible on several devices of TensorFlow (Keras issue 17187). Use `backend` jax", True
            )
        if config.precision == "float16":
            raise invalid(
                "precision",
                "is not possible on several devices of TensorFlow: Keras would miss a gradient that is too large on"
                " one of them. Use bfloat16, or `backend` jax",
                config.precision,
            )
        dropout = any(layer.type == "Dropout" for _, layer in leaves(describe(spec)))
        if dropout:
            raise invalid(
                "devices",
                f"must be one for {spec.title} on TensorFlow: its dropout would depend on the number of devices. Use"
                " `backend` jax",
                self.devices,
            )

    def scope(self) -> AbstractContextManager[Any]:
        """Return the strategy's scope."""
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    def following(self, array: Any) -> Any:
        """Return what belongs to the next images of the batch, one of which is on another device."""
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        whole = context.all_gather(array, axis=0)
        counts = context.all_gather(tf.shape(array)[:1], axis=0)
        begin = tf.reduce_sum(counts[: context.replica_id_in_sync_group])
        return tf.roll(whole, -1, axis=0)[begin : begin + tf.shape(array)[0]]

    def mean(self, losses: Any) -> Any:
        """Return the sum of this device's ``losses``, divided by the images of the batch on all devices."""
        import tensorflow as tf

        images = tf.cast(tf.shape(losses)[0], losses.dtype)
        return tf.reduce_sum(losses) / tf.distribute.get_replica_context().all_reduce("SUM", images)

    def share(self, penalty: Any) -> Any:
        """Return this device's part of ``penalty``."""
        return penalty / self.devices

    def values(self, variable: Any) -> np.ndarray:
        """Return the values of a metric's variable on the devices: (devices, ...)."""
        return np.stack([part.numpy() for part in self._parts(variable)])

    def assign(self, variable: Any, values: np.ndarray) -> None:
        """Assign a row of ``values`` on each device. Sums of another number of devices go to the first one."""
        parts = self._parts(variable)
        if values.ndim == len(variable.shape):
            values = values[None]
        if len(values) != len(parts):
            total = values.sum(axis=0)
            values = np.stack([total, *([np.zeros_like(total)] * (len(parts) - 1))])
        for part, value in zip(parts, values, strict=True):
            part.assign(value)

    def _parts(self, variable: Any) -> tuple[Any, ...]:
        parts: tuple[Any, ...] = self._strategy.experimental_local_results(variable.value)
        return parts


def require_divisible(batch_size: int, devices: int) -> None:
    """Check that batches can be split equally over the devices.

    Raises:
        InvalidValueError: when they can't. The message has the nearest sizes.
    """
    if batch_size % devices:
        below, above = batch_size // devices * devices, -(-batch_size // devices) * devices
        near = f"{below} or {above}" if below else str(above)
        raise invalid(
            "batch_size", f"must be divisible by the number of devices, {devices}: {near}", batch_size, valid=near
        )


def _refuse_features(config: RunConfig) -> None:
    if config.head_alone:
        raise invalid(
            "devices",
            "must be one with `freeze_base` and no augmentation: the head alone is trained, which takes one device"
            " seconds",
            config.devices,
        )


def require_supported(placement: Placement, backend: str, cluster: Cluster | None, *, synchronized: bool) -> None:
    """Check that ``backend`` can train in the processes of ``cluster``, and with these moments of batch normalization.

    Raises:
        BackendError: when it can't.
    """
    if cluster and backend != "jax":
        raise BackendError(
            "A run on several processes needs JAX, because Keras 3 does not support several processes on TensorFlow"
            f" (Keras issue 20585): add `backend` jax. For separate runs in the tasks of SLURM, unset SLURM_PROCID."
            f" Received: {cluster}"
        )
    one = cluster is None and (placement.kind == "cpu" or placement.kind == "auto") and (placement.count or 1) == 1
    if backend == "jax" and not synchronized and not one:
        raise BackendError(
            "JAX computes batch normalization over the whole batch on all devices. For the moments of each device's"
            " part, use `backend` tensorflow. Received: `sync_batchnorm` false"
        )


def start_strategy(
    placement: Placement, backend: str, gpus: Callable[[], int], *, synchronized: bool = True, cluster: Cluster | None
) -> Strategy:
    """Return the strategy for ``placement`` on ``backend``, which has been imported and has listed no device.

    Args:
        placement: the devices that are asked for.
        backend: the Keras backend.
        gpus: returns the number of GPUs that the backend sees.
        synchronized: whether batch normalization has the moments of the whole batch.
        cluster: the processes of the run; None for one.

    Raises:
        BackendError: when the backend can't use these devices.
    """
    if backend == "jax":
        return _jax_strategy(placement, gpus, cluster)
    kind, count = _resolved(placement, gpus())
    if count == 1:
        return Strategy()
    if kind == "cpu":
        _split_tensorflow_cpu(count)
    return TensorflowMirrored(kind, count, synchronized)


def _jax_strategy(placement: Placement, gpus: Callable[[], int], cluster: Cluster | None) -> Strategy:
    import jax

    count = placement.count or 1
    if placement.kind != "gpu" and count > 1:
        _split_jax_cpu(count)
    if cluster:
        _join(cluster)
    seen = sum(each.platform != "cpu" for each in jax.local_devices()) if cluster else gpus()
    kind, count = _resolved(placement, seen)
    return JaxDataParallel(kind, count, cluster) if count > 1 or cluster else Strategy()


def _resolved(placement: Placement, gpus: int) -> tuple[str, int]:
    """Return the kind and the number of devices, where the backend sees ``gpus`` GPUs."""
    if placement.kind == "cpu" and gpus:
        raise BackendError(
            "The backend has already started the GPU in this process. Train on the CPU in a new process."
            f" Received: `devices` {placement}"
        )
    return placement.number_of(gpus)


def _processes(cluster: Cluster | None) -> range:
    return range(cluster.processes if cluster else 1)


# Seconds after which a process that sends no sign of life is taken for dead. JAX then ends the others.
_HEARTBEAT = 20
_MARGIN = 10
# Seconds of work between two exchanges after which a process is taken for stuck. Compiling a step takes minutes, and
# classifying many test images too.
_STUCK = 1800
# Seconds in which all processes must start. Each reads the images and imports JAX before.
_JOINING = 300


def _join(cluster: Cluster) -> None:
    """Connect this process to the others."""
    import jax

    try:
        jax.distributed.initialize(
            cluster.address,
            cluster.processes,
            cluster.index,
            initialization_timeout=_JOINING,
            heartbeat_timeout_seconds=_HEARTBEAT,
            # Process 0 writes plots and the page while the others wait.
            shutdown_timeout_seconds=_JOINING,
        )
    except RuntimeError as error:
        if "must be called before" in str(error):
            raise _too_late("JAX") from error
        raise BackendError(
            f"The processes of the run did not find each other: {str(error).splitlines()[0]} Start all"
            f" {cluster.processes} within {_JOINING} s, with an address of process 0 that all machines reach."
            f" Received: {cluster}"
        ) from error


def _split_jax_cpu(count: int) -> None:
    """Make ``count`` devices of the CPU, unless there are so many."""
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:  # JAX has listed its devices.
        if len(jax.local_devices(backend="cpu")) < count:
            raise _too_late("JAX") from error


def _split_tensorflow_cpu(count: int) -> None:
    """Make ``count`` logical devices of the CPU, unless there are so many."""
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(processor) or ()) >= count:
        return
    try:
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        raise _too_late("TensorFlow") from error


def _too_late(library: str) -> BackendError:
    return BackendError(
        f"{library} has already started its devices in this process. Train on more devices in a new process."
    )


def _replicating() -> Any:
    """Return Keras's ``DataParallel`` with batches that every device gets whole, in every process."""
    import keras

    class Replicating(keras.distribution.DataParallel):
        def get_data_layout(self, data_shape: Any) -> Any:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return Replicating
