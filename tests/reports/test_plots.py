import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from cifarnet.errors import StorageError
from cifarnet.reports.figures import plots
from tests.support.reports import HISTORY

CLASSES = [{"class": name, "precision": 0.5, "recall": 0.25, "f1": 0.3, "support": 4} for name in ("cat", "$x_1$")]


def test_figure_is_saved_as_png_and_svg_and_again_to_same_bytes(tmp_path):
    for name in ("a", "b"):
        plots.save(plots.class_bars(CLASSES), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.width, image.height) == (720, 260)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_folder_that_can_not_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        plots.save(plots.class_bars(CLASSES), tmp_path / "file" / "a")


def test_curve_leaves_out_epochs_without_a_check():
    loss, accuracy, rate = plots.curves(HISTORY, "test").axes
    training, held = loss.lines
    assert training.get_xydata().tolist() == [[1, 2], [2, 1], [3, 0.5]]
    assert held.get_xydata().tolist() == [[1, 1.9], [3, 0.9]]
    assert accuracy.lines[1].get_ydata().tolist() == [35, 75]
    assert rate.lines[0].get_ydata().tolist() == [0.1, 0.1, 0.01]


def test_a_run_never_classified_held_out_images_has_curves_too():
    rows = [{**row, "test_loss": None, "test_accuracy": None} for row in HISTORY]
    assert [len(axes.lines) for axes in plots.curves(rows, "test").axes] == [1, 1, 1]


def test_lines_differ_without_their_colours():
    training, held = plots.curves(HISTORY, "test").axes[0].lines
    assert (training.get_linestyle(), training.get_marker()) != (held.get_linestyle(), held.get_marker())


def test_a_confusion_matrix_shows_its_counts_and_names():
    axes = plots.confusion([[3, 1], [0, 2]], ["cat", "$x_1$"]).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", r"\$x_1\$"]


def test_counts_are_readable_on_their_shade():
    axes = plots.confusion([[99, 1], [0, 2]], ["a", "b"]).axes[0]
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["99"] == "white"
    assert colours["1"] == plots.BLACK


def test_empty_bins_of_confidence_have_no_bar():
    bins = [{"images": 0, "confidence": 0.0, "accuracy": 0.0}, {"images": 4, "confidence": 0.8, "accuracy": 0.5}]
    accuracy, share = plots.reliability(bins, 0.3).axes
    assert [(round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in accuracy.patches] == [(75, 50)]
    assert [bar.get_height() for bar in share.patches] == [0, 100]


def test_many_classes_make_no_larger_picture(tmp_path):
    count = 1000
    figure = plots.confusion(np.eye(count, dtype=int).tolist(), [f"class {k}" for k in range(count)])
    assert max(figure.get_size_inches()) <= 16
    assert len(figure.axes[0].get_xticks()) <= 50
    bars = plots.class_bars([{**CLASSES[0], "class": f"{k}", "f1": k / count} for k in range(count)])
    assert max(bars.get_size_inches()) < 25
    assert bars.axes[0].get_yticklabels()[0].get_text() == "0"


def test_a_matplotlibrc_of_the_users_changes_nothing(tmp_path):
    plots.save(plots.class_bars(CLASSES), tmp_path / "a")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "savefig.dpi": 30}):
        plots.save(plots.class_bars(CLASSES), tmp_path / "b")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_names_that_the_font_lacks_are_drawn_without_a_warning(tmp_path):
    plots.save(plots.confusion([[1, 0], [0, 1]], ["猫", "🐶"]), tmp_path / "a")
    assert "猫" in (tmp_path / "a.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [2, 10, 100])
def test_names_and_axes_lie_within_the_picture(count):
    names = [f"a rather long name, number {k}" for k in range(count)]
    for figure in (plots.confusion(np.eye(count, dtype=int).tolist(), names),):
        file = io.BytesIO()
        figure.savefig(file, format="png", bbox_inches=None)
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L"))
        assert (pixels[[0, -1]] == 255).all()
        assert (pixels[:, [0, -1]] == 255).all()
