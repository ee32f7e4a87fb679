"""Changes of the colours of images, on the device: pixel values from 0 to 255, float32 (batch, height, width, 3).

They are those of Pillow's ``ImageEnhance`` without its rounding to whole numbers.
"""

from typing import Any

# ITU-R BT.601, as Pillow converts to grey.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114

JITTER_DRAWS = 2  # brightness, contrast


def jitter(pixels: Any, draws: Any, fraction: float) -> Any:
    """Return ``pixels`` with each image's brightness, then its contrast, multiplied by a random factor.

    Brightness multiplies the pixel values. Contrast multiplies their differences from the image's mean grey. Each
    result is clipped to 0 to 255.

    Args:
        pixels: float32 (batch, height, width, 3), 0 to 255.
        draws: float32 (batch, 2), uniform in [0, 1). The factors are uniform in [1 - fraction, 1 + fraction).
        fraction: 0 to 1.
    """
    brightness, contrast = (1 + fraction * (2 * draws[:, k, None, None, None] - 1) for k in range(JITTER_DRAWS))
    bright = blend(0.0, pixels, brightness)
    return blend(mean_grey(bright), bright, contrast)


def blend(start: Any, pixels: Any, factor: Any) -> Any:
    """Return ``start`` for a factor of 0, ``pixels`` for 1, and what is on the line beyond, clipped to 0 to 255."""
    from keras import ops

    return ops.clip(start + factor * (pixels - start), 0.0, 255.0)


def grey(pixels: Any) -> Any:
    """Return the grey values (batch, height, width, 1) of ``pixels``."""
    return _RED * pixels[..., 0:1] + _GREEN * pixels[..., 1:2] + _BLUE * pixels[..., 2:3]


def mean_grey(pixels: Any) -> Any:
    """Return the mean grey value of each image: (batch, 1, 1, 1)."""
    from keras import ops

    return ops.mean(grey(pixels), axis=(1, 2), keepdims=True)
