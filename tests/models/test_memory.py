import pytest

from cifarnet.models.memory import ACTIVATION_LIMIT, activation_bytes, images_within_limit
from cifarnet.models.spec import PRESETS, ModelSpec


@pytest.mark.parametrize("name", PRESETS)
def test_documented_networks_classify_250_images_of_32_pixels(name):
    assert images_within_limit(ModelSpec(name), 250) == 250
    assert images_within_limit(ModelSpec(name), 256) == 256


def test_batches_of_large_images_stay_within_the_limit():
    # Two layers of 64 feature maps of 128x128 pixels, in float32.
    spec = ModelSpec("vgg16", image_size=128)
    assert activation_bytes(spec) == 2 * 64 * 128 * 128 * 4
    assert images_within_limit(spec, 250) == 64
    assert images_within_limit(spec, 250) * activation_bytes(spec) <= ACTIVATION_LIMIT
    assert images_within_limit(spec, 16) == 16


def test_an_image_beyond_the_limit_is_classified_alone():
    assert images_within_limit(ModelSpec("vgg16", image_size=1024), 250) == 1
