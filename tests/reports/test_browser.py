"""A report in a real browser: headless Chromium, with real clicks and keys. Skipped where Chromium is missing."""

import shutil
from contextlib import suppress

import numpy as np
import pytest

from cifarnet.evaluation.metrics import measure, reliability_bins, softmax, surest_mistakes
from cifarnet.reports.html.evaluation_page import Training, evaluation_page
from cifarnet.reports.html.gallery import MISTAKES, Gallery
from tests.support.reports import HISTORY

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

NAMES = ("cat", "dog", "an animal with a very long name indeed", "ox")
FILES = [f"test/{'x' * 40}/picture {row}.png" for row in range(400)]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=webdriver.ChromeService(DRIVER), options=options)
    yield driver
    with suppress(Exception):
        driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400).astype(np.int32)
    logits = rng.normal(size=(400, 4)) + 2 * np.eye(4)[labels]
    images = rng.integers(0, 256, (400, 32, 32, 3), np.uint8)
    predicted, confidence = logits.argmax(axis=1), softmax(logits).max(axis=1)
    mistaken = surest_mistakes(labels, predicted, confidence, MISTAKES)
    gallery = Gallery(images, labels, predicted, confidence, mistaken, NAMES, FILES)
    metrics = measure(logits, labels, NAMES)
    html = evaluation_page(
        "A network",
        metrics.to_dict(),
        reliability_bins(logits, labels),
        gallery,
        [("Weights", "runs/a-rather-long-path-" + "x" * 80)],
        [["cifarnet", "evaluate", "runs/" + "y" * 90]],
        Training(HISTORY, "test", [("Recipe", "fast")]),
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri(), metrics


@pytest.fixture
def page(browser, report):
    """The report at a desk, in the light, just opened."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    show(browser, report, 1200)
    browser.get_log("browser")
    return browser


def show(browser, report, width):
    settings = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)
    browser.get(report[0])


def column(page, index):
    return [row.text for row in page.find_elements("css selector", f".sortable td:nth-child({index + 1})")]


def test_a_click_on_a_heading_sorts_the_classes_by_it(page):
    before = column(page, 0)
    assert before == list(NAMES)
    recall = page.find_elements("css selector", ".sortable th button")[2]
    recall.click()
    falling = [float(cell.rstrip(" %")) for cell in column(page, 2)]
    assert falling == sorted(falling, reverse=True)
    recall.click()
    assert [float(cell.rstrip(" %")) for cell in column(page, 2)] == falling[::-1]
    page.find_elements("css selector", ".sortable th button")[0].click()
    assert column(page, 0) == sorted(NAMES)


def test_a_click_on_a_count_opens_as_many_pictures(page, report):
    cell = page.find_element("css selector", '[data-cell="1,0"]')
    cell.click()
    dialog = page.find_element("css selector", "dialog")
    assert dialog.is_displayed()
    tiles = dialog.find_elements("css selector", ".tile")
    assert len(tiles) == int(cell.text) == report[1].confusion_matrix[1][0]
    assert "dog, taken for cat" in dialog.find_element("css selector", "h3").text
    drawn = tiles[0].value_of_css_property("background-image")
    assert drawn.startswith('url("data:image/jpeg')
    assert tiles[0].size["width"] == tiles[0].size["height"] > 0
    assert "dog, taken for cat at" in tiles[0].get_attribute("aria-label")
    named = dialog.find_element("css selector", ".gallery li").text.splitlines()[-1]
    assert named in FILES
    assert tiles[0].get_attribute("aria-label").startswith(f"{named}: ")
    dialog.find_element("css selector", ".close").click()
    assert not dialog.is_displayed()


def test_the_keyboard_does_what_the_mouse_does(page):
    from selenium.webdriver.common.keys import Keys

    cell = page.find_element("css selector", '[data-cell="0,1"]')
    page.execute_script("arguments[0].focus()", cell)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    dialog = page.find_element("css selector", "dialog")
    assert dialog.is_displayed()
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert page.switch_to.active_element == cell


def test_a_phone_scrolls_down_only(page, report):
    show(page, report, 360)
    wide, seen = page.execute_script("return [document.scrollingElement.scrollWidth, innerWidth]")
    assert seen == 360
    assert wide <= seen


def test_in_the_dark_the_page_is_dark(page, report):
    def brightness(kind):
        colour = page.find_element("css selector", "body").value_of_css_property(kind)
        return sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])

    assert brightness("background-color") > 700 > brightness("color")
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    assert brightness("background-color") < 100 < 600 < brightness("color")


def test_it_asks_nothing_of_the_network_and_reports_no_error(page):
    page.find_element("css selector", '[data-cell="0,0"]').click()
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert page.get_log("browser") == []


def test_every_picture_has_an_alternative_text(page):
    pictures = page.find_elements("css selector", "[role=img], img")
    assert len(pictures) > 50
    assert all(picture.get_attribute("aria-label") or picture.get_attribute("alt") for picture in pictures)
