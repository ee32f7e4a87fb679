import io

import numpy as np
import pytest
from rich.console import Console

from cifarnet.preprocessing import CIFAR10_CLASSES
from cifarnet.printable import printable
from cifarnet.reports.confusions import worst_confusions, worst_errors
from cifarnet.reports.html.evaluation_page import training_facts
from cifarnet.reports.terminal.evaluation_tables import class_table, confusion_table, render_evaluation
from tests.support.reports import evaluation


def shown(renderable, width, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(renderable)
    return console.file.getvalue()


def test_the_report_shows_every_headline_number():
    text = shown(render_evaluation(evaluation(), 80), 80)
    for part in (
        "runs/[red]x/weights.h5",
        "cifar10, 1,234 test images",
        "50.00 %   95 % interval 18.76 % to 81.24 %",
        "1.2500",
        "Top-3 accuracy     100.00 %",
        "1.23 %",
        "5,679 images/s",
    ):
        assert part in text


def test_report_fits_80_columns_with_the_ten_classes_of_cifar10():
    matrix = [[1000 if i == j else 17 for j in range(10)] for i in range(10)]
    lines = shown(render_evaluation(evaluation(CIFAR10_CLASSES, matrix), 80), 80).splitlines()
    assert max(map(len, lines)) <= 80
    heading = next(line for line in lines if line.split()[:1] == ["airp"])
    assert heading.split() == ["airp", "auto", "bird", "cat", "deer", "dog", "frog", "hors", "ship", "truc"]
    row = next(line for line in lines if line.startswith("automobile   "))
    assert row.split() == ["automobile", "17", "1000", *["17"] * 8]
    assert [row.index("1000") + 4, len(heading.rstrip())] == [heading.index("auto") + 4, len(row.rstrip())]


def test_classes_that_begin_alike_are_distinguished_by_number():
    names = ("class 1", "class 2")
    lines = shown(confusion_table([[3, 4], [5, 6]], names, 80), 80).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["1", "2"],
        ["1", "class", "1", "3", "4"],
        ["2", "class", "2", "5", "6"],
    ]


def test_a_matrix_too_wide_gives_way_to_its_greatest_errors():
    names = [f"{k} kind" for k in range(20)]
    matrix = [[50] * 20 for _ in range(20)]
    for row in range(20):
        matrix[row] = [100 if row == column else 0 for column in range(20)]
    matrix[3][7], matrix[7][3], matrix[5][6] = 12, 2, 30
    text = shown(confusion_table(matrix, names, 80), 80)
    rows = [line.split("│")[1:4] for line in text.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["5 kind", "6 kind", "30"],
        ["3 kind", "7 kind", "12"],
        ["7 kind", "3 kind", "2"],
    ]
    assert "--json" in text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_the_report_fits_the_terminal_with_its_columns_aligned(width, classes):
    names = CIFAR10_CLASSES[:classes] if classes <= 10 else [f"class {k}" for k in range(classes)]
    matrix = [[1000 if i == j else 17 for j in range(classes)] for i in range(classes)]
    lines = shown(render_evaluation(evaluation(names, matrix), width), width).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.count("17") >= classes - 1 and "1000" in line]
    assert len(rows) == (classes if classes <= 10 else 0)
    assert len({len(row) for row in rows}) <= 1


def test_a_narrow_terminal_gets_three_letters_of_each_class():
    matrix = [[100 if i == j else 17 for j in range(10)] for i in range(10)]
    lines = shown(confusion_table(matrix, CIFAR10_CLASSES, 50), 50).splitlines()
    heading = next(line for line in lines if line.split()[:1] == ["air"])
    assert heading.split() == ["air", "aut", "bir", "cat", "dee", "dog", "fro", "hor", "shi", "tru"]
    assert max(map(len, lines)) <= 55


def test_ties_of_confusions_are_in_class_order():
    matrix = [[90, 2, 7], [7, 80, 0], [1, 9, 70]]
    assert worst_confusions(matrix) == [(2, 1, 9), (0, 2, 7), (1, 0, 7)]
    assert worst_confusions(matrix, 1) == [(2, 1, 9)]


def test_errors_that_do_not_occur_are_not_confusions():
    assert worst_confusions([[5, 0], [1, 5]]) == [(1, 0, 1)]
    assert worst_confusions(np.array([[5, 0], [0, 5]])) == []


def test_the_worst_confusions_are_named_in_words():
    lines = worst_errors([[882, 118], [0, 1000]], ("cat", "[red]\n"))
    assert lines == [r"cat taken for [red]\n: 118 of 1,000 (11.8 %)"]
    assert worst_errors([[1, 0], [0, 1]], ("cat", "dog")) == ["No image is taken for one of another class."]


def test_worst_confusions_are_bold_where_there_are_no_colours():
    text = shown(
        confusion_table([[95, 5, 4, 0], [0, 97, 3, 2], [0, 0, 9, 0], [0, 0, 0, 9]], "abcd", 80),
        80,
        force_terminal=True,
        no_color=True,
    )
    rows = text.partition("\na")[2]
    assert [part.split("\x1b")[0].strip() for part in rows.split("\x1b[1m")[1:]] == ["5", "4", "3"]


def background_strengths(text):
    """The backgrounds of a truecolor output as the sum of red, green and blue, in their order."""
    return [sum(map(int, part.split("m")[0].split(";")[:3])) for part in text.split("48;2;")[1:]]


def test_the_background_grows_with_the_share_of_the_row():
    text = shown(
        confusion_table([[60, 40, 0], [0, 100, 0], [1, 0, 0]], ("cat", "dog", "eel"), 80),
        80,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
    )
    sixty, forty, hundred, single = background_strengths(text)
    assert sixty < hundred == 31 + 119 + 180
    assert forty < single == 214 + 39 + 40


def test_scores_that_are_undefined_are_named():
    text = shown(render_evaluation(evaluation(matrix=((2, 1, 0), (0, 1, 0), (0, 0, 0))), 80), 80)
    assert "Never predicted, so precision is undefined (shown as 0): eel" in text
    assert "No images, so recall is undefined (shown as 0): eel" in text
    everywhere = shown(render_evaluation(evaluation(matrix=((1, 1, 1),) * 3), 80), 80)
    assert "undefined" not in everywhere


def test_class_names_are_no_markup():
    classes = [{"class": "[red]\n", "precision": 0, "recall": 0, "f1": 0, "support": 1}]
    assert r"[red]\n" in shown(class_table(classes), 80)


@pytest.mark.parametrize(
    ("text", "safe"),
    [("a\nb", r"a\nb"), ("\x1b[31m", r"\x1b[31m"), ("\udcff", r"\udcff"), ("\u202e", r"\u202e"), ("日本 ü", "日本 ü")],
)
def test_what_moves_the_cursor_or_can_not_be_encoded_is_escaped(text, safe):
    assert printable(text) == safe


@pytest.mark.parametrize("mixes", [False, True])
def test_the_page_says_what_accuracy_mixed_images_have(mixes):
    settings = dict.fromkeys(("recipe", "data", "backend", "precision"), "x")
    settings |= {"weights": None, "teachers": (), "seed": 1, "mixes_images": mixes}
    facts = dict(training_facts(settings, "", 3))
    assert ("an answer counts as" in facts.get("Training loss and accuracy", "")) is mixes
