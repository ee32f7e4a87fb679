"""SGD or Muon with the learning rate of a recipe, along a plan that may change in a run, and averages of weights."""

from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.recipes import Recipe
from cifarnet.training.muon import orthogonalized, with_unit_channels
from cifarnet.training.schedule import Plan, learning_rate

# Height, width, inputs and outputs.
_KERNEL_AXES = 4


class PlannedSGD(keras.optimizers.SGD):
    """Keras's SGD with momentum. The learning rate of a step is that of the recipe at the step's position in the plan.

    With ``recipe.muon`` convolution kernels are trained by Muon. Its learning rate follows the same schedule.

    With ``recipe.ema`` the variables of the optimizer include ``averages``, the exponential moving averages of those
    that it trains, in their order. Keras's own ``use_ema`` would replace the weights by them after every ``fit``, of
    which a run has many.

    The plan is the last variable of the optimizer, because Keras's JAX trainer passes no other variables to it.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int):
        super().__init__(
            _Schedule(self, recipe, steps_per_epoch), momentum=recipe.momentum, nesterov=recipe.nesterov, name="sgd"
        )
        self.decay = recipe.ema
        self.muon_rate = recipe.muon / recipe.learning_rate
        """The learning rate of Muon for each unit of that of SGD."""

    def build(self, variables: list[Any]) -> None:
        """Create the variables."""
        super().build(variables)
        self.averages = self.add_optimizer_variables(variables, "average") if self.decay else []
        self.plan = self.add_variable(shape=(4,), dtype="float32", name="plan")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update ``variable``, then its average."""
        if self.muon_rate and len(variable.shape) == _KERNEL_AXES:
            self._turn(gradient, variable, self.muon_rate * learning_rate)
        else:
            super().update_step(gradient, variable, learning_rate)
        if self.averages:
            average = self.averages[self._get_variable_index(variable)]
            decay = average_decay(self.decay, ops.cast(self.iterations, "float32"), ops)
            self.assign(average, decay * average + (1 - decay) * variable)

    def _turn(self, gradient: Any, kernel: Any, learning_rate: Any) -> None:
        """Update a convolution kernel by Muon."""
        direction = gradient
        if self.momentum:
            slot = self.momentums[self._get_variable_index(kernel)]
            velocity = self.momentum * slot + gradient
            self.assign(slot, velocity)
            direction = gradient + self.momentum * velocity if self.nesterov else velocity
        start = with_unit_channels(ops.convert_to_tensor(kernel), ops)
        self.assign(kernel, start - learning_rate * orthogonalized(direction, ops))

    def follow(self, plan: Plan, factor: float = 1.0) -> None:
        """Follow ``plan`` from the next step on, with ``factor`` times the learning rate of the recipe."""
        self.plan.assign(np.array([plan.step, plan.position, plan.slope, factor], np.float32))


def average_decay(decay: float, step: Any, xp: Any = np) -> Any:
    """Return the weight of the old average in the update after ``step``, which is 0 for the first.

    The weight rises to ``decay`` in 9 / (1 - decay) steps, so that the initial weights are soon forgotten: until then,
    most of the average is from the last ninth of the run. The formula is that of TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``, one step later. So the first average is equal to the first
    weights.
    """
    return xp.minimum(decay, step / (step + 9.0))


class _Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, optimizer: PlannedSGD, recipe: Recipe, steps_per_epoch: int):
        self.optimizer = optimizer
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        start, position, slope, factor = ops.unstack(ops.convert_to_tensor(self.optimizer.plan))
        # The middle of the step, so that the first step of a cycle has a learning rate above zero.
        position = position + (step + 0.5 - start) * slope
        return factor * learning_rate(self.recipe, self.steps_per_epoch, step, position, ops)

    def get_config(self) -> dict[str, Any]:
        return {"recipe": self.recipe.to_dict(), "steps_per_epoch": self.steps_per_epoch}
