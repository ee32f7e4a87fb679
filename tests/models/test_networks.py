from pathlib import Path

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.models.layers import named_weights, residual_paths, total_macs, total_params
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization
from cifarnet.reports.terminal.network_tables import plain_summary, summary_data

TABLES = (Path(__file__).parents[1] / "golden/documented_tables.txt").read_text().split("ResNet-")[1:]
DOCUMENTED = {int(table.split("\n", 1)[0]): table.split("\n", 1)[1].rstrip("\n") for table in TABLES}


def test_all_five_documented_tables_are_at_hand():
    assert sorted(DOCUMENTED) == [20, 32, 44, 56, 110]


@pytest.mark.parametrize("depth", sorted(DOCUMENTED))
def test_plain_summary_equals_the_documented_table_to_the_letter(depth):
    spec = ModelSpec(f"resnet{depth}")
    assert plain_summary(summary_data(spec, describe(spec))) == DOCUMENTED[depth]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [8, 20, 110])
def test_the_keras_model_and_the_description_agree_on_every_row(depth):
    from cifarnet.models.network import Network

    model = Network(ModelSpec(f"resnet{depth}"))
    described = [layer for layer in model.description if layer.in_table]
    assert [layer.name for layer in model.layers] == [layer.name for layer in described]
    for built, row in zip(model.layers, described, strict=True):
        assert type(built).__name__ == row.type
        assert built.count_params() == row.params
        assert sum(int(np.prod(v.shape)) for v in built.trainable_variables) == row.trainable_params
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=100)
    for row in described:
        shape = str((None, *row.output_shape))
        assert any(f"{row.name} (" in line and shape in line for line in "\n".join(lines).splitlines()), row.name
    for name, variable in model.tensors().items():
        assert tuple(variable.shape) == named_weights(described)[name].shape
    assert len(model.tensors()) == len(model.variables)


def test_resnet20_needs_published_number_of_multiply_accumulates():
    assert total_macs(describe(ModelSpec("resnet20"))) == 40_551_040


def test_multiply_accumulates_follow_from_shapes_counted_by_hand():
    # ResNet-8: stem 32*32*9*3*16; stage 1: two 3x3 convolutions of 16 channels; stages 2 and 3 alike at half the size.
    stem = 1024 * 9 * 3 * 16
    stage_1 = 2 * 1024 * 9 * 16 * 16
    stage_2 = 256 * 9 * (16 * 32 + 32 * 32)
    stage_3 = 64 * 9 * (32 * 64 + 64 * 64)
    assert total_macs(describe(ModelSpec("resnet8"))) == stem + stage_1 + stage_2 + stage_3 + 640


@pytest.mark.parametrize(("depth", "nearest"), [(0, "8"), (7, "8"), (21, "20 and 26"), (19, "14 and 20"), (109, "104")])
def test_a_depth_no_resnet_has_is_refused_with_the_nearest_ones(depth, nearest):
    with pytest.raises(InvalidValueError, match=rf"nearest: {nearest}"):
        ModelSpec(f"resnet{depth}")


def test_the_number_of_classes_changes_the_head_alone():
    assert total_params(describe(ModelSpec("resnet20", 3))) == 271_098 - 7 * 65


def test_first_unit_alone_takes_its_shortcut_after_activation():
    stages = [layer for layer in describe(ModelSpec("resnet20")) if layer.type == "Sequential"]
    units = [unit for stage in stages for unit in stage.layers]
    assert [len(residual_paths(unit).before) for unit in units] == [2] + 8 * [0]
    assert [unit.layers[0].output_shape[0] // unit.output_shape[0] for unit in units] == [1, 1, 1, 2, 1, 1, 2, 1, 1]


def test_strided_shortcut_averages_and_pads_channels_both_sides():
    from cifarnet.models.network import ResidualUnit, build_model

    unit = build_model(ModelSpec("resnet8")).base[2].layers[0]
    assert isinstance(unit, ResidualUnit)
    unit.conv2.kernel.assign(np.zeros(unit.conv2.kernel.shape))
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 16)).astype(np.float32)
    y = np.asarray(unit(x))
    pooled = x.reshape(2, 2, 2, 2, 2, 16).mean((2, 4))
    np.testing.assert_allclose(y[..., 8:24], pooled, rtol=1e-5, atol=1e-6)
    assert not y[..., :8].any()
    assert not y[..., 24:].any()


def test_weights_of_another_network_are_refused_unassigned():
    from cifarnet.models.initial import initial_weights
    from cifarnet.models.network import build_model

    model = build_model(ModelSpec("resnet8"), seed=1)
    before = model.get_tensors()
    wrong = initial_weights(ModelSpec("resnet8", classes=3), seed=2)
    with pytest.raises(WeightsError, match="conv2d_1/kernel"):
        model.set_tensors(wrong)
    for name, array in model.get_tensors().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_frozen_base_keeps_its_moving_statistics_in_training():
    from cifarnet.models.network import build_model

    model = build_model(ModelSpec("resnet8", image_size=8))
    model.freeze_base()
    before = model.get_tensors()
    model.logits(np.ones((4, 8, 8, 3), np.float32), training=True)
    changed = [name for name, array in model.get_tensors().items() if not np.array_equal(array, before[name])]
    assert changed
    assert all(name.startswith("batch_normalization/moving_") for name in changed)


def test_normalization_is_exact_mean_and_population_deviation():
    images = np.random.default_rng(0).integers(0, 256, (1500, 4, 4, 3), np.uint8)
    normalization = Normalization.of(images)
    assert normalization.mean == pytest.approx(images.mean(dtype=np.float64), rel=1e-12)
    assert normalization.std == pytest.approx(images.std(dtype=np.float64), rel=1e-12)


@pytest.mark.slow
def test_a_network_needs_a_spec_and_a_known_precision():
    from cifarnet.models.network import build_model

    with pytest.raises(InvalidValueError, match=r"`spec` must be a ModelSpec, .* Received: \"resnet20\""):
        build_model("resnet20")
    with pytest.raises(InvalidValueError, match=r"`precision` must be float32, bfloat16 or float16. Received: x"):
        build_model(ModelSpec("resnet8"), precision="x")
