"""Build the parts of a training loop: training model, evaluator and precise batch normalization."""

from dataclasses import dataclass, replace

import keras
import numpy as np

from cifarnet.backend.devices import device
from cifarnet.data.arrays import is_large
from cifarnet.data.dataset import Dataset
from cifarnet.data.progress import Progress
from cifarnet.models.initial import adopted_weights, initial_weights
from cifarnet.models.network import Network, build_model
from cifarnet.models.whitening import whitening_weights
from cifarnet.plurals import counted
from cifarnet.training.distillation import Student
from cifarnet.training.distribute import Strategy
from cifarnet.training.evaluator import Evaluator, ImageEvaluator
from cifarnet.training.frozen import HEAD_STEPS, FeatureEvaluator, HeadTrainingModel, base_features
from cifarnet.training.model import HostArray, TrainingModel
from cifarnet.training.precise_batchnorm import PreciseBatchnorm, PreciseFeatures, PreciseImages
from cifarnet.training.setup import Setup


@dataclass(frozen=True)
class Parts:
    """The parts of a training loop.

    Attributes:
        model: the model that ``fit`` trains.
        evaluator: classifies the held-out images, on one device.
        precise: computes the moments of batch normalization before each check; None for moving averages.
        averaged: a float32 network for the averaged weights, with the same layers frozen; None without averages.
        strategy: the devices of the training model.
    """

    model: TrainingModel
    evaluator: Evaluator
    precise: PreciseBatchnorm | None
    averaged: Network | None
    strategy: Strategy


def start_weights(setup: Setup) -> dict[str, np.ndarray]:
    """Return the initial weights by name: random ones, or those of the base, with a new head for new classes.

    Whitening kernels are those of the base, or computed from the training images.
    """
    base = setup.origins.base
    if base is None:
        whitening = whitening_weights(setup.spec, setup.data.train.images, setup.normalization)
        return initial_weights(setup.spec, setup.config.seed) | whitening
    return adopted_weights(setup.spec, setup.config.seed, base.tensors, keep_head=setup.keeps_head)


def build_parts(setup: Setup, tensors: dict[str, np.ndarray], strategy: Strategy, progress: Progress) -> Parts:
    """Return the parts of the training loop for a run.

    Args:
        setup: the run.
        tensors: the weights that its network starts with, by name.
        strategy: the devices.
        progress: receives the progress of computing the features of a frozen base.
    """
    if setup.config.head_alone:
        return _head_parts(setup, tensors, strategy, progress)
    return _network_parts(setup, tensors, strategy)


def _network_parts(setup: Setup, tensors: dict[str, np.ndarray], strategy: Strategy) -> Parts:
    config, data = setup.config, setup.data
    execution = config.execution(device())
    images, teachers = data.train.images, setup.origins.teachers
    # In all processes, if the memory of one is too small.
    inputs = HostArray(images) if strategy.largest(float(is_large(images.shape))) else images
    given = (inputs, setup.normalization, config.recipe, execution, strategy)
    with strategy.scope():
        network = build_model(setup.spec, tensors, precision=execution.precision)
        if config.freeze_base:
            network.freeze_base()
        model = Student(network, teachers, *given) if teachers else TrainingModel(network, *given)
    precise = None
    if count := config.recipe.precise_batchnorm:
        precise = PreciseImages(_float32_copy(setup), data.train.images, setup.normalization, count, config.seed)
    evaluator = ImageEvaluator(setup.spec, setup.normalization, data.held_out.images)
    return Parts(model, evaluator, precise, _averaged(setup), strategy)


def _head_parts(setup: Setup, tensors: dict[str, np.ndarray], strategy: Strategy, progress: Progress) -> Parts:
    config, data = setup.config, setup.data
    execution = config.execution(device())
    network = build_model(setup.spec, tensors)
    network.freeze_base()

    def features(dataset: Dataset, name: str) -> keras.Variable | HostArray:
        activity = f"Computing the features of {counted(len(dataset), f'{name} image')}"
        return base_features(network, dataset.images, setup.normalization, progress, activity)

    execution = replace(execution, steps_per_call=max(execution.steps_per_call, HEAD_STEPS))
    train = features(data.train, "training")
    model = HeadTrainingModel(network, train, setup.normalization, config.recipe, execution)
    # A network of its own, because the weights to check may be averages.
    evaluator = FeatureEvaluator(_float32_copy(setup), features(data.held_out, data.held_name))
    precise = None
    if count := config.recipe.precise_batchnorm:
        inputs = train.array if isinstance(train, HostArray) else train
        precise = PreciseFeatures(_float32_copy(setup), inputs, count, config.seed)
    return Parts(model, evaluator, precise, _averaged(setup), strategy)


def _averaged(setup: Setup) -> Network | None:
    return _float32_copy(setup) if setup.config.recipe.ema else None


def _float32_copy(setup: Setup) -> Network:
    """Return a float32 network of the same spec, with the same layers frozen."""
    network = build_model(setup.spec)
    if setup.config.freeze_base:
        network.freeze_base()
    return network
