import base64
import io
import json
import re

import numpy as np
from PIL import Image

from cifarnet.evaluation.metrics import surest_mistakes
from cifarnet.reports.html.gallery import MISTAKES, Gallery
from cifarnet.reports.html.page import environment


def gallery(labels, predicted, confidence, names=("cat", "dog", "<eel>"), size=8, files=None):
    shades = np.linspace(10, 250, len(labels)).astype(np.uint8)
    images = np.broadcast_to(shades[:, None, None, None], (len(labels), size, size, 3)).copy()
    answers = np.array(labels), np.array(predicted), np.array(confidence)
    return Gallery(images, *answers, surest_mistakes(*answers, MISTAKES), names, files)


def rendered(template, content):
    return environment().get_template(template).render(content=content)


def confusion(shown):
    content = {"worst": (), "matrix": shown.matrix(), "classes": len(shown.names), "opened": shown.opened()}
    return rendered("confusions.html", content)


def mistakes(shown):
    return rendered("mistakes.html", shown.mistakes())


LABELS, PREDICTED, CONFIDENCE = [0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 0, 2], [0.9, 0.6, 0.8, 0.7, 0.5, 0.4]


def data(html):
    return json.loads(re.search(r'id="images-data">(.*?)</script>', html, re.S).group(1))


def test_a_cell_opens_its_images_the_surest_first():
    cells = data(confusion(gallery(LABELS, PREDICTED, CONFIDENCE)))["cells"]
    assert {key: [int(name.removeprefix("image ")) for name, *_ in cell["shown"]] for key, cell in cells.items()} == {
        "0,0": [0],
        "0,1": [2, 1],
        "1,0": [4],
        "1,1": [3],
        "2,2": [5],
    }
    assert cells["0,1"]["images"] == 2


def test_the_matrix_counts_images_and_says_so_in_words():
    html = confusion(gallery(LABELS, PREDICTED, CONFIDENCE))
    assert 'aria-label="cat taken for dog: 2 images">2</button>' in html
    assert html.count("<button") == 6  # five cells and Close


def test_mistakes_are_the_wrong_answers_by_confidence():
    html = mistakes(gallery(LABELS, PREDICTED, CONFIDENCE))
    assert re.findall(r"<br>image (\d+)<", html) == ["2", "1", "4"]
    assert "cat, taken for dog at 80.0 %" in html


def test_images_are_called_by_their_files_where_these_are_known():
    files = ["test/cat/0.png", "test/cat/<b>.png", "test/cat/\udcff.png", "test/dog/0.png", "test/dog/1.png", "eel.png"]
    shown = gallery(LABELS, PREDICTED, CONFIDENCE, files=files)
    html = mistakes(shown)
    assert re.findall(r"is (\w+)<br>(.*?)</li>", html) == [
        ("cat", r"test/cat/\udcff.png"),
        ("cat", "test/cat/&lt;b&gt;.png"),
        ("dog", "test/dog/1.png"),
    ]
    assert 'aria-label="test/dog/1.png: dog, taken for cat at 50.0 %"' in html
    cells = data(confusion(shown))["cells"]
    assert [name for name, *_ in cells["0,1"]["shown"]] == [r"test/cat/\udcff.png", "test/cat/<b>.png"]
    assert cells["2,2"]["shown"][0][0] == "eel.png"


def test_without_mistakes_there_are_none():
    assert "none" in mistakes(gallery([0, 1], [0, 1], [0.9, 0.8]))


def test_a_class_may_have_any_name():
    shown = gallery(LABELS, PREDICTED, CONFIDENCE, names=("</script>", "a'b", '"c"'))
    html = confusion(shown) + mistakes(shown)
    assert html.count("</script>") == 1
    assert data(html)["names"] == ["</script>", "a'b", '"c"']


def test_each_tile_stands_where_its_position_says():
    shown = gallery(LABELS * 20, PREDICTED * 20, CONFIDENCE * 20)
    style, cells = shown.style, data(confusion(shown))["cells"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,(.*?)\)", style).group(1)))))
    lines = sheet.shape[0] // 8
    for cell in cells.values():
        for name, position, _ in cell["shown"]:
            row = int(name.removeprefix("image "))
            across, down = (float(part.rstrip("%")) / 100 for part in position.split())
            x, y = round(across * 49) * 8 + 4, round(down * max(1, lines - 1)) * 8 + 4
            assert abs(int(sheet[y, x, 0]) - int(shown.images[row, 0, 0, 0])) <= 2


def test_a_page_holds_at_most_three_thousand_images():
    many = 20_000
    rng = np.random.default_rng(0)
    shown = gallery(rng.integers(0, 3, many), rng.integers(0, 3, many), rng.random(many))
    cells = data(confusion(shown))["cells"].values()
    assert sum(cell["images"] for cell in cells) == many
    assert 500 < sum(len(cell["shown"]) for cell in cells) <= 3000


def test_of_too_many_classes_those_with_most_mistakes_are_shown():
    names = [f"class {k}" for k in range(300)]
    labels = list(range(300)) * 2
    predicted = [label if label >= 30 else label + 1 for label in labels]
    html = confusion(gallery(labels, predicted, [0.5] * 600, names))
    assert "Of 300 classes, the 40 with the most wrong answers." in html
    assert html.count('<th scope="row">') == 40
    assert '<th scope="row">class 29</th>' in html
    assert {cell["images"] for cell in data(html)["cells"].values()} <= {2}


def test_of_too_many_classes_without_mistakes_those_with_images_are_shown():
    shown = gallery([45, 46, 46], [45, 46, 46], [0.9, 0.8, 0.7], [f"class {k}" for k in range(50)])
    html = confusion(shown)
    assert html.count('<th scope="row">') == 40
    assert data(html)["cells"].keys() == {"45,45", "46,46"}
    assert "image/jpeg" in shown.style


def test_large_images_are_reduced_to_the_size_of_a_tile():
    style = gallery(LABELS, PREDICTED, CONFIDENCE, size=200).style
    sheet = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^)]*)", style)[1])))
    assert sheet.size[1] == 96
