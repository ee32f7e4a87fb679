"""The values of options that are a choice of names, in a module that is fast to import."""

BACKENDS = ("tensorflow", "jax")
"""The Keras backends that cifarnet runs on."""

ENGINE_NAMES = ("auto", "onnx", "keras", "openvino")
"""The engines that compute logits. The first is the default."""

DEFAULT_WEIGHTS = "resnet20"
"""The weights that classify, and that a training on few images starts from, unless others are given."""

WEIGHTS_PLACE = f"a run, a weight file or a name such as {DEFAULT_WEIGHTS}"
"""What parameters for weights take, in words."""

EXPORT_FORMATS = ("onnx", "litert", "savedmodel", "keras", "safetensors", "openvino")
"""The formats of ``cifarnet export``. The first is the default."""

PRECISIONS = ("float32", "bfloat16", "float16")
"""The data types of feature maps."""

FEW_IMAGES = 5000
"""The most training images for which a run starts from trained weights by default. The epochs of ``fine-tune`` are long
with many images, and trained weights help less. The limit was not measured, but runs on 30 to 150 images were
(docs/fine-tuning.md)."""

ON_NAN = ("stop", "restore")
"""The reactions to a non-finite loss or weight. The first is the default."""

DISTANCE, LARGEST_LOGIT = "distance", "largest logit"
"""The scores by which pictures of none of the classes are rejected (``cifarnet.inference.rejection``)."""

CROPS = ("center", "pad", "stretch")
"""How a picture is made square: crop the centre, add grey margins, or stretch."""

TTA = ("none", "flip", "shift", "shift-unsure")
"""Test-time augmentation of images: none, or the mean logits of each image and its mirror image, without or with views
that are shifted by a pixel, of all images or of the least confident quarter (``cifarnet.inference.tta``)."""

VIEWS = ("none", "flip", "shift", "views")
"""Test-time augmentation of pictures: as for images, or the mean logits over all ``CROPS`` and their mirror images. The
prediction for a picture does not depend on other pictures, so there is no least confident quarter."""
