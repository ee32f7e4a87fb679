from dataclasses import replace

import pytest
from rich.text import Text

from cifarnet.events import Classifying, Measuring, StepDone
from cifarnet.reports.terminal.braille import curve
from cifarnet.reports.terminal.training_frame import Screen, TrainingFrame, rows_after_wrapping
from cifarnet.reports.terminal.training_lines import epoch_line, wrapped
from tests.support.reports import PLAN, done


def run(epochs=0, plan=PLAN):
    live = TrainingFrame()
    live.note(plan)
    for epoch in range(1, epochs + 1):
        live.note(done(epoch, best=epoch == 2))
    live.note(StepDone(epochs + 1, 98, 391, 391 * epochs + 98, 1.25, 0.625, 0.05, 512.0, 12_600.0))
    return live


def text(live, *screen, **options):
    return "\n".join(line.plain for line in live.frame(Screen(*screen, **options)))


def test_frame_shows_what_is_trained_how_far_it_is_and_how_well():
    output = text(run(4), 100, 30)
    for part in (
        "ResNet-20 · recipe documented · CPU, 2 cores (tensorflow)",
        "4/250  3.5 hours left",
        "98/391",
        "loss 1.250 acc 62.5% lr 0.05 512 images/s",
        "best    epoch 2  validation acc 25.00%  loss 1.500",
        "last    epoch 4  validation acc 25.00%  loss 0.750  training acc 50.00% loss 0.500",
        "epochs 1 to 4",
    ):
        assert part in output


@pytest.mark.parametrize("height", [1, 3, 6, 9, 12, 16, 24, 50])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_frame_fits_every_screen(width, height, ascii_only):
    lines = run(30).frame(Screen(width, height, ascii_only))
    assert 1 <= len(lines) <= max(1, height - 1)
    assert max(line.cell_len for line in lines) < width


def test_a_low_screen_loses_curves_then_heading_then_the_results():
    needed = ("loss (log scale)", "ResNet-20", "best  ", "last  ", "steps  ")
    shown = {height: [part in text(run(4), 100, height) for part in needed] for height in (24, 9, 7, 6, 5)}
    assert shown == {
        24: [True, True, True, True, True],
        9: [False, True, True, True, True],
        7: [False, False, True, True, True],
        6: [False, False, True, True, True],
        5: [False, False, False, True, True],
    }


def test_at_60_columns_no_figure_is_cut():
    output = text(run(4), 60, 30)
    assert "loss 1.250 acc 62.5% lr 0.05 512 images/s" in output
    assert "last    epoch 4  validation acc 25.00%  loss 0.750\n" in output
    assert "accuracy" in output


def test_where_only_ascii_can_be_shown_all_is_ascii():
    assert text(run(4), 200, 30, ascii_only=True).isascii()


def test_what_comes_from_outside_can_not_move_the_cursor():
    output = text(run(), 200, 30)
    assert "\x1b" not in output
    assert r"pictures \x1b[2J ü" in output


def test_other_work_is_shown_in_place_of_the_figures():
    live = run(1)
    live.note(Classifying(3000, 10_000))
    assert "classifying 3,000 of 10,000 validation images" in text(live, 60, 30)
    live = TrainingFrame()
    live.note(PLAN)
    live.note(Measuring(24))
    assert "timing steps on 24x24 pixels" in text(live, 60, 30)


def test_best_epoch_on_a_test_set_is_one_with_highest_accuracy():
    live = TrainingFrame()
    live.note(replace(PLAN, held_out="test"))
    for epoch, accuracy in enumerate((0.2, 0.7, 0.6), start=1):
        live.note(done(epoch, held_accuracy=accuracy, held_out="test"))
    assert "best    epoch 2  test acc 70.00%" in text(live, 100, 30)


def test_a_resumed_run_shows_the_epochs_before_it_too():
    rows = tuple(done(epoch, held_accuracy=accuracy).row for epoch, accuracy in ((1, 0.2), (2, 0.75), (3, 0.5)))
    live = TrainingFrame()
    live.note(replace(PLAN, start_epoch=3, history=rows, best_epoch=2))
    live.note(done(4))
    output = text(live, 100, 30)
    assert "best    epoch 2  validation acc 75.00%" in output
    assert "last    epoch 4" in output
    assert "epochs 1 to 4" in output


def test_epochs_that_are_trained_again_replace_what_they_were():
    live = run(4)
    live.note(done(3, accuracy=0.75))
    assert "epochs 1 to 3" in text(live, 100, 30)
    assert "training acc 75.00%" in text(live, 100, 30)


def drawn(training, held_out, width, height, **options):
    options = {"ascii_only": True, "coloured": False, **options}
    lines, low, high = curve(training, held_out, width, height, **options)
    return [line.plain for line in lines], low, high


def test_a_curve_runs_from_corner_to_corner():
    assert drawn([0.0, 1.0], [], 4, 4) == (["   .", "  . ", " .  ", ".   "], 0.0, 1.0)


def test_braille_has_two_dots_across_and_four_down():
    assert drawn([0.0, 1.0], [], 2, 1, ascii_only=False)[0] == ["⡠⠊"]


def test_held_out_values_are_circles_where_there_are_no_colours():
    assert drawn([0.0, 0.0], [1.0, 1.0], 3, 2, ascii_only=False)[0] == ["ooo", "⣀⣀⣀"]
    assert "o" not in drawn([0.0, 0.0], [1.0, 1.0], 3, 2, ascii_only=False, coloured=True)[0][0]


def test_logarithmic_scale_has_equal_factors_at_equal_distances():
    lines, low, high = drawn([1.0, 10.0, 100.0], [], 3, 3, logarithmic=True)
    assert lines == ["  .", " . ", ".  "]
    assert (low, high) == pytest.approx((1, 100))


def test_values_that_can_not_be_drawn_are_left_out():
    assert drawn([0.0, None, 2.0], [float("nan"), float("inf")], 3, 3) == (["  .", " . ", ".  "], 0.0, 2.0)
    assert drawn([None], [], 2, 1) == (["  "], 0.0, 0.0)
    assert drawn([0.0, 1.0], [], 2, 1, logarithmic=True)[1:] == (1.0, 1.0)


def test_equal_values_lie_in_the_middle():
    assert drawn([0.5, 0.5], [], 2, 3)[0] == ["  ", "..", "  "]


def test_a_line_wider_than_the_terminal_takes_more_rows():
    assert rows_after_wrapping([Text(), Text("x" * 60), Text("x" * 61), Text("x" * 121)], 60) == 7


def test_an_epochs_line_leaves_out_what_does_not_fit():
    event = done(3, best=True)
    whole = epoch_line(event)
    assert whole.endswith("lr 0.1  60 s  500 images/s  best")
    assert epoch_line(event, len(whole)) == whole
    assert epoch_line(event, len(whole) - 1) == whole.replace("  500 images/s", "")
    assert epoch_line(event, 60) == "  3/250  acc 50.00%  validation loss 1.000 acc 25.00%  best"


def test_epochs_line_has_same_columns_whether_or_not_it_is_best():
    for width in range(40, 130):
        assert epoch_line(done(3, best=True), width) == epoch_line(done(3), width) + "  best"


def test_a_line_is_broken_between_words_and_a_path_nowhere():
    path = "/data/" + "x" * 40
    assert wrapped(f"Run       in {path} or so", 30, 10) == ["Run       in", f"{' ' * 10}{path}", f"{' ' * 10}or so"]
    assert wrapped("as it is", None, 10) == ["as it is"]


@pytest.mark.parametrize("loss", [0.00012345, 0.5, 77.17, 108.044, 123456.7])
def test_the_curves_rule_is_straight_whatever_the_loss(loss):
    live = run(3)
    live.note(replace(done(4), row=replace(done(4).row, held_loss=loss)))
    lines = [line for line in text(live, 100, 30).splitlines() if "│" in line]
    assert len(lines) == 6
    assert {line.index("│") for line in lines} == {7}
