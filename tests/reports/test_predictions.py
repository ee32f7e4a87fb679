import csv
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from cifarnet.reports.terminal.prediction_blocks import REJECTION, Columns, bar, csv_header, csv_row, prediction_block

ANSWER = (("cat", 0.75), ("automobile", 0.25), ("dog", 0.0))


def lines_of(image, columns, width, rejected=None, answer=ANSWER):
    console = Console(file=io.StringIO(), width=width)
    console.print(prediction_block(image, answer, columns, rejected))
    return console.file.getvalue().splitlines()


def test_a_block_has_a_line_with_a_bar_per_class():
    first, second, third = lines_of("a.png", Columns(10, 10, 20), 80)
    assert first.split() == ["a.png", "cat", "█" * 15, "75.0", "%"]
    assert second.split() == ["automobile", "█" * 5, "25.0", "%"]
    assert third.split() == ["dog", "0.0", "%"]


def test_names_are_no_markup_and_keep_to_their_line():
    assert lines_of("[bold]\n\x1b[2J.png", Columns(30, 10, 20), 80)[0].startswith(r"[bold]\n\x1b[2J.png ")


@pytest.mark.parametrize("name", ["x" * 300, "日本" * 50])
@pytest.mark.parametrize("width", [30, 40, 52, 60, 80, 120])
def test_blocks_with_long_names_fit_the_width_and_lose_nothing(name, width):
    columns = Columns.fitting([name, "a.png"], ["cat", "automobile"], width)
    lines = lines_of(name, columns, width)
    assert max(map(cell_len, lines)) <= width
    assert sum(line.count(name[0]) for line in lines) == name.count(name[0])


@pytest.mark.parametrize("class_name", ["cat", "automobile", "c" * 20, "日本" * 20])
@pytest.mark.parametrize("width", range(30, 80))
def test_each_class_has_its_percentage_on_its_line(class_name, width):
    answer = [(f"{number}{class_name}", share) for number, share in enumerate((1.0, 0.6, 0.05))]
    columns = Columns.fitting(["a.png", REJECTION], [name for name, _ in answer], width)
    lines = lines_of("a.png", columns, width, True, answer)
    assert max(map(cell_len, lines)) <= width
    for number, share in enumerate(("100.0 %", "60.0 %", "5.0 %")):
        shown = lines[number][columns.name + 2 :]
        assert shown.startswith(f"{number}{class_name[:3]}")
        assert shown.endswith(share)


@pytest.mark.parametrize(("width", "bar", "class_name"), [(63, 20, 20), (53, 10, 20), (43, 0, 20), (30, 0, 9)])
def test_on_narrow_terminals_the_bar_gives_way_before_the_class(width, bar, class_name):
    assert Columns.fitting(["a.png"], ["c" * 20], width) == Columns(10, class_name, bar)


def test_columns_are_no_wider_than_what_they_hold():
    assert Columns.fitting(["photo-0123.png", "a"], ["cat", "horse"], 120) == Columns(14, 5, 20)


@pytest.mark.parametrize(
    ("share", "expected"), [(0, ""), (1, "████"), (0.5, "██"), (0.28125, "█▏"), (0.03125, "▏"), (0.96875, "███▉")]
)
def test_bars_are_exact_to_an_eighth_of_a_column(share, expected):
    assert bar(share, 4) == expected


def test_csv_rows_have_the_columns_of_their_header():
    assert csv_header(2) == ["image", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert csv_row("a.png", ANSWER[:2], [], None, 2) == ["a.png", "cat", "0.750000", "automobile", "0.250000", ""]
    assert csv_row("b.png", (), [], "b.png is empty.", 2) == ["b.png", "", "", "", "", "b.png is empty."]


def test_csv_escapes_what_a_terminal_obeys():
    answer = [("\x1b[2J\u202ecat", 0.5)]
    row = csv_row("\x9b\r=1+1.png", answer, [], "\x1b]0;title\x07", 1)
    assert row == ["\\x9b\\r=1+1.png", "\\x1b[2J\\u202ecat", "0.500000", "\\x1b]0;title\\x07"]


def test_csv_keeps_odd_names_and_escapes_bytes_that_are_no_text():
    file = io.StringIO()
    csv.writer(file).writerow(csv_row('a,"b"\nc \udcff', ANSWER[:1], [], None, 1))
    file.getvalue().encode()
    assert next(csv.reader(io.StringIO(file.getvalue(), newline=""))) == ['a,"b"\nc \\udcff', "cat", "0.750000", ""]


def test_a_rejected_picture_is_said_to_be_none_of_the_classes():
    columns = Columns.fitting(["a.png", REJECTION], ["cat"], 80)
    assert lines_of("a.png", columns, 80, rejected=True)[1].startswith(REJECTION)
    assert REJECTION not in "".join(lines_of("a.png", columns, 80, rejected=False))
    assert csv_header(1, reject=True) == ["image", "class_1", "probability_1", "rejected", "error"]
    assert csv_row("a.png", ANSWER[:1], ["true"], None, 1) == ["a.png", "cat", "0.750000", "true", ""]
