"""The update of Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for convolution kernels.

A kernel is a matrix with a row for each input of an output channel. The update has the singular vectors of the averaged
gradient, and singular values near 1, so that small gradients change the kernel as much as large ones. Keras's own Muon
trains convolution kernels with AdamW.
"""

from math import prod
from typing import Any

_STEPS = 3
# Of the quintic polynomial of the publication, which lifts small singular values most. The result has singular values
# between about 0.7 and 1.2, and small ones remain below.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SMALLEST = 1e-7


def orthogonalized(kernel: Any, xp: Any) -> Any:
    """Return ``kernel`` with singular values near 1, float (height, width, inputs, outputs).

    Args:
        kernel: float (height, width, inputs, outputs). Its matrix is (height * width * inputs, outputs).
        xp: ``numpy`` or ``keras.ops``.
    """
    shape = tuple(kernel.shape)
    rows, columns = prod(shape[:-1]), shape[-1]
    matrix = xp.reshape(kernel, (rows, columns))
    # The products are square matrices of the shorter side.
    if rows > columns:
        matrix = xp.transpose(matrix)
    matrix = matrix / (_norm(matrix, xp) + _SMALLEST)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        square = xp.matmul(matrix, xp.transpose(matrix))
        matrix = a * matrix + xp.matmul(b * square + c * xp.matmul(square, square), matrix)
    return xp.reshape(xp.transpose(matrix) if rows > columns else matrix, shape)


def with_unit_channels(kernel: Any, xp: Any) -> Any:
    """Return ``kernel`` (height, width, inputs, outputs) scaled to the norm of a kernel with output channels of norm 1.

    Batch normalization after the convolution makes its output independent of this norm. With a constant norm, the
    learning rate alone decides how far a step turns the kernel.
    """
    return kernel * (kernel.shape[-1] ** 0.5 / (_norm(kernel, xp) + _SMALLEST))


def _norm(array: Any, xp: Any) -> Any:
    return xp.sqrt(xp.sum(xp.square(array)))
