"""The values of options that take one of a few names, in a module that is fast to import."""

BACKENDS = ("tensorflow", "jax")
"""The Keras backends that cifarnet runs on."""

PRECISIONS = ("float32", "bfloat16", "float16")
"""The number types of feature maps."""

ON_NAN = ("stop", "restore")
"""The reactions to a loss or weight that becomes NaN or infinite; the first is the default."""

CROPS = ("center", "pad", "stretch")
"""How a picture becomes square: its centre is cut out, grey margins are added, or it is distorted."""

TTA = ("none", "flip")
"""Test-time augmentation of images: none, or the mean of the logits of each image and its mirror image."""

VIEWS = (*TTA, "views")
"""Test-time augmentation of pictures: that of images, or the mean over all ``CROPS`` and their mirror images."""
