"""The Keras model that ``fit`` trains. It takes row numbers and random draws; the images stay on the device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from cifarnet.backend.devices import Execution
from cifarnet.data.augmentation import CUTOUT_DRAWS, FLIP, MOVE_DRAWS, draw_columns, shrink, training_images
from cifarnet.data.mixing import cutmix_draws, mixed, mixup_draws, own_shares, own_weights
from cifarnet.models.network import KERAS_POLICIES, Network
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import Recipe
from cifarnet.training.distribute import Strategy
from cifarnet.training.optimizer import PlannedSGD


@dataclass(frozen=True)
class HostArray:
    """Training images, or features, that stay on the host, in memory or on disk. Each step takes its own."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.array.shape

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows`` of the array. They are read in the order of the file."""
        order = np.argsort(rows)
        taken = np.empty((len(rows), *self.array.shape[1:]), self.array.dtype)
        taken[order] = self.array[rows[order]]
        return taken


class Targets(NamedTuple):
    """What a network should answer to the images of a batch.

    Attributes:
        labels: int32 (batch,).
        others: of mixed images: the labels of the images that they are mixed with, int32 (batch,).
        shares: of mixed images: the share of ``labels``, float32 (batch,).
    """

    labels: Any
    others: Any = None
    shares: Any = None


class TrainingModel(keras.Model):
    """A network and the training images, which are uploaded to the device once, as uint8.

    A batch is ``{"rows": int32 (batch,), "draws": float32 (batch, draws)}``. Its images are gathered, normalized,
    augmented and shrunk to ``image_size`` on the device. The loss is the cross-entropy plus the recipe's L2 penalty.
    The metrics are means over the epoch: ``accuracy``, and ``cross_entropy`` without smoothing and penalty. They are
    comparable with those of a test set, unless images are mixed. For mixed images, the cross-entropy is that of the
    shared label, and an answer counts by the share of its class in the label.

    Images that are too large for the device (``HostArray``) are in the batch instead: ``"inputs"``.

    Args:
        network: the network, built with ``execution.precision``.
        images: uint8 (n, size, size, 3); a variable is already on the device, and a ``HostArray`` stays on the host.
        normalization: of the images.
        recipe: the recipe.
        execution: the precision, the compilation and the steps per call.
        strategy: the devices. The model must be made in its scope.
    """

    def __init__(
        self,
        network: Network,
        images: np.ndarray | keras.Variable | HostArray,
        normalization: Normalization,
        recipe: Recipe,
        execution: Execution,
        strategy: Strategy | None = None,
    ):
        # Autocasting would round the draws. The policy makes Keras scale the loss for float16.
        super().__init__(name="training_model", dtype=KERAS_POLICIES[execution.precision], autocast=False)
        self.network = network
        self.strategy = strategy or Strategy()
        if self.strategy.synchronized:
            network.synchronize_batchnorm()
        network.set_batchnorm_momentum(recipe.batchnorm_momentum)
        if isinstance(images, np.ndarray):
            images = keras.Variable(images, dtype=images.dtype.name, trainable=False, name="images")
        self.images = images
        self.normalization = normalization
        self.recipe = recipe
        self.steps_per_epoch = recipe.steps_per_epoch(images.shape[0])
        self.full_size = network.spec.image_size
        self.image_size = self.full_size
        self.cross_entropy = keras.metrics.Mean(name="cross_entropy")
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self.built = True
        self.sgd = PlannedSGD(recipe, self.steps_per_epoch)
        self.compile(self.sgd, jit_compile=execution.jit, steps_per_execution=execution.steps_per_call)
        # The optimizer is built before the first step, because resuming assigns its state.
        self.optimizer.build(self.trainable_variables)
        self.last_logs: Any = None
        self.train_function: Any = None
        self._train_functions: dict[int, Any] = {}

    def use_size(self, image_size: int) -> None:
        """Train on images shrunk to ``image_size`` pixels from the next step on."""
        # Keras keeps one train function, which is traced for one size. So there is one for each size.
        self._train_functions[self.image_size] = self.train_function
        self.image_size = image_size
        self.train_function = self._train_functions.get(image_size)

    def averaged_tensors(self) -> dict[str, np.ndarray]:
        """Return the network's weights by full name: averages of those that are trained, and the others as they are."""
        averages = {id(each): its for each, its in zip(self.trainable_variables, self.sgd.averages, strict=True)}
        return {
            name: np.array(ops.convert_to_numpy(averages.get(id(variable), variable)))
            for name, variable in self.network.tensors().items()
        }

    def call(self, batch: dict[str, Any], training: bool | None = None) -> Any:
        """Return logits (batch, classes) of the training images of ``batch``."""
        return self.logits(self.augmented(self.strategy.split(batch)), training)

    def relative_cost(self, image_size: int) -> float:
        """Return the estimated time of a step on images shrunk to ``image_size``, relative to one at full size."""
        return (image_size / self.full_size) ** 2

    def augmented(self, batch: dict[str, Any]) -> Any:
        """Return the training images of ``batch``, augmented and mixed: float32 (batch, size, size, 3)."""
        images = training_images(self.inputs_of(batch), batch["draws"], self.recipe, self.normalization)
        if self.recipe.mixes_images:
            images = mixed(images, self.strategy.following(images), self._own_weights(batch["draws"]))
        return images

    def _own_weights(self, draws: Any) -> Any:
        return own_weights(draws, self.recipe, self.full_size)

    def targets(self, x: dict[str, Any] | None, y: Any) -> Targets:
        """Return what the network should answer to the batch ``x`` with the labels ``y``."""
        labels = self.strategy.split(y)
        if x is None or not self.recipe.mixes_images:
            return Targets(labels)
        shares = own_shares(self._own_weights(self.strategy.split(x["draws"])))
        return Targets(labels, self.strategy.following(labels), shares)

    def inputs_of(self, batch: dict[str, Any]) -> Any:
        """Return the training images of ``batch`` as they are stored."""
        return batch["inputs"] if "inputs" in batch else ops.take(self.images, batch["rows"], axis=0)

    def logits(self, images: Any, training: bool | None) -> Any:
        """Return the network's logits (batch, classes) of ``augmented`` images, shrunk to the current size."""
        return self.network.logits(shrink(images, self.image_size), training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the mean of the ``image_losses`` plus the L2 penalty, a scalar."""
        penalty = sum(ops.sum(ops.square(kernel)) for kernel in self.network.regularized)
        return self.strategy.mean(self.image_losses(self.targets(x, y), y_pred)) + self.strategy.share(
            self.recipe.l2 * penalty
        )

    def image_losses(self, targets: Targets, logits: Any) -> Any:
        """Return the cross-entropy of each image with smoothed labels: (batch,). Update the unsmoothed metric.

        The labels of mixed images are smoothed after they are mixed. The other order gives the same.
        """
        losses = keras.losses.sparse_categorical_crossentropy(targets.labels, logits, from_logits=True)
        if targets.shares is not None:
            of_others = keras.losses.sparse_categorical_crossentropy(targets.others, logits, from_logits=True)
            losses = targets.shares * losses + (1 - targets.shares) * of_others
        self.cross_entropy.update_state(losses)
        if smoothing := self.recipe.label_smoothing:
            uniform = -ops.mean(ops.log_softmax(logits), axis=-1)
            losses = (1 - smoothing) * losses + smoothing * uniform
        return losses

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the accuracy and return all metrics."""
        targets = self.targets(x, y)
        self.accuracy.update_state(targets.labels, y_pred, targets.shares)
        if targets.shares is not None:
            self.accuracy.update_state(targets.others, y_pred, 1 - targets.shares)
        return self.get_metrics_result()

    def make_train_function(self, force: bool = False) -> None:
        """Make the train function: Keras's, or on JAX one for each image size, with the steps of a call as one scan.

        On JAX, Keras 3.15 starts the steps one by one from the host, which passes every weight and optimizer slot each
        time.
        """
        known = self.train_function is not None and not force
        if known or keras.backend.backend() != "jax" or not self.jit_compile:
            super().make_train_function(force)
        elif self.steps_per_execution == 1:
            self.train_function = self._one_by_one()
        else:
            self.train_function = self._scanned(self.steps_per_execution)

    def _compiled_step(self) -> Callable[..., Any]:
        """Return a step compiled for the current image size: (state, batch) to (logs, state).

        JAX caches compiled code by function, and bound methods of one object are equal. So ``self.train_step`` would
        keep the size that it was first compiled for.
        """
        import jax

        def step(state: Any, batch: Any) -> Any:
            return self.train_step(state, batch)

        return jax.jit(step, donate_argnums=0)

    def _one_by_one(self) -> Callable[..., Any]:
        """Return a train function as Keras's JAX trainer calls it: (state, iterator of batches) to (logs, state)."""
        step = self._compiled_step()

        def train_function(state: Any, iterator: Iterator[Any]) -> Any:
            return step(state, next(iterator))

        return train_function

    def _scanned(self, steps: int) -> Callable[..., Any]:
        """Return a train function as Keras's JAX trainer calls it: (state, iterator of batches) to (logs, state).

        The logs are those of the previous call. Keras converts them to numbers at once. With those of the current call
        the host would wait for the device, and then the device for the next batches.
        """
        import jax

        def many(state: Any, batches: Any) -> Any:
            def one(state: Any, batch: Any) -> Any:
                logs, state = self.train_step(state, batch)
                return state, logs

            state, logs = jax.lax.scan(one, state, batches)
            return jax.tree.map(lambda log: log[-1], logs), state

        one_step = self._compiled_step()
        many_steps = jax.jit(many, donate_argnums=0)

        def train_function(state: Any, iterator: Iterator[Any]) -> Any:
            batches = [batch for _, batch in zip(range(steps), iterator, strict=False)]
            if not batches:
                raise StopIteration
            sizes = {len(jax.tree.leaves(batch)[0]) for batch in batches}
            # The rest of an epoch is trained step by step, because a scan of another length would be compiled again.
            if len(batches) == steps and len(sizes) == 1:
                logs, state = many_steps(state, jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *batches))
            else:
                for batch in batches:
                    logs, state = one_step(state, batch)
            returned, self.last_logs = self.last_logs or logs, logs
            return returned, state

        return train_function


def epoch_order(recipe: Recipe, seed: int, epoch: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of an epoch, int32 (images,), in random order, and their draws, float32 (images, draws).

    Both depend only on the seed and the epoch, so that a resumed run trains on the same images as an uninterrupted one.

    Args:
        recipe: the recipe, which decides the number of draws per image.
        seed: the seed of the run.
        epoch: counted from 0.
        images: the number of training images.
    """
    rng = np.random.default_rng([seed, epoch])
    rows, draws = rng.permutation(images).astype(np.int32), rng.random((images, MOVE_DRAWS), np.float32)
    if recipe.alternate_flips:
        sides = np.random.default_rng([seed, _FLIP_STREAM]).random(images) < 0.5
        draws[:, FLIP] = np.where(sides[rows] ^ bool(epoch % 2), 0.25, 0.75)
    if recipe.cutout:
        draws = np.concatenate([draws, rng.random((images, CUTOUT_DRAWS), np.float32)], axis=1)
    # Each in a stream of its own, so that an augmentation does not change the draws of the others.
    own = [
        _own_draws(name, recipe, np.random.default_rng([seed, epoch, stream]), images)
        for name, stream in _STREAMS.items()
        if getattr(recipe, name)
    ]
    return rows, np.concatenate([draws, *own], axis=1)


def _own_draws(name: str, recipe: Recipe, rng: np.random.Generator, images: int) -> np.ndarray:
    """Return the draws of the augmentation ``name`` for ``images`` images."""
    if name == "mixup":
        return mixup_draws(rng, images, recipe.mixup)
    if name == "cutmix":
        return cutmix_draws(rng, images, recipe.cutmix)
    columns = draw_columns(recipe)[name]
    return rng.random((images, columns.stop - columns.start), np.float32)


# Separates the random side of each image's first flip from the streams of the epochs and of the initial weights.
_FLIP_STREAM = 2**32 - 2
# The streams of augmentations, in the order of their columns. 2**32 - 3 and 2**32 - 4 are those of precise batch
# normalization and of dropout.
_STREAMS = {"jitter": 2**32 - 5, "trivial_augment": 2**32 - 6, "mixup": 2**32 - 7, "cutmix": 2**32 - 8}
