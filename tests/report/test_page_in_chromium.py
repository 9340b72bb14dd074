"""The page in a browser without network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from mnist_batch import predict
from report.chromium import CHROMIUM, Chromium, chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run with labels, and of a run without labels whose files have hostile names."""
    folder = tmp_path_factory.mktemp("runs")
    hostile = folder / "in"
    hostile.mkdir()
    image = cv2.imread(str(sample_data / "digits" / "3" / "3_000.png"), cv2.IMREAD_UNCHANGED)
    assert image is not None
    cv2.imwrite(str(hostile / "x.png"), image)
    (hostile / "x.png").rename(hostile / HOSTILE)
    (hostile / "<script>alert(2)<!--.png").write_bytes(b"not an image")
    predict(sample_data / "digits", output=folder / "labelled")
    predict(hostile, output=folder / "unlabelled", baseline=folder / "labelled", max_reject_rate=1)
    return {name: folder / name / "report.html" for name in ("labelled", "unlabelled")}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("run", ["labelled", "unlabelled"])
def test_page_loads_cleanly_and_fits(
    run: str, width: int, dark: bool, browser: Chromium, pages: dict[str, Path], tmp_path: Path
) -> None:
    browser.open(pages[run], width, dark)
    browser.screenshot(tmp_path / "page.png")
    shot = cv2.imread(str(tmp_path / "page.png"))
    assert shot is not None
    assert browser.console == []
    assert browser.requests == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert bool(shot[2, 2].mean() < 60) is dark
    # Every image has loaded.
    assert browser.evaluate("[...document.images].every(i => i.naturalWidth == 28)") is True


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(dark: bool, browser: Chromium, pages: dict[str, Path]) -> None:
    """WCAG 2.2, 1.4.3 asks for a contrast of 4.5."""
    browser.open(pages["labelled"], dark=dark)
    assert browser.evaluate(MIN_CONTRAST) >= 4.5


def test_file_names_are_escaped(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["unlabelled"])
    assert browser.evaluate("document.scripts.length") == 0
    assert HOSTILE in browser.evaluate("document.body.innerText")
    assert "<script>alert(2)<!--.png" in browser.evaluate("document.body.innerText")
    assert not [method for method, _ in browser.events if method == "Page.javascriptDialogOpening"]


def test_page_prints_on_a_few_sheets(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["labelled"], dark=True)
    pdf = browser.call("Page.printToPDF", printBackground=True, transferMode="ReturnAsBase64")["data"]
    assert 20_000 < len(pdf) < 2_000_000


def test_browser_reports_bad_pages(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<img src='http://example.org/x.png'><script>console.error('no')</script>")
    browser.open(tmp_path / "bad.html")
    assert browser.requests == ["http://example.org/x.png"]
    assert browser.console


# The lowest contrast between a text and its background. Translucent backgrounds are painted on a canvas first.
MIN_CONTRAST = """(() => {
  const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const paint = colours => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let lowest = 21;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (!walker.currentNode.textContent.trim()) continue;
    const backgrounds = [], element = walker.currentNode.parentElement;
    if (element.closest('title')) continue;
    for (let e = element; e; e = e.parentElement) backgrounds.unshift(getComputedStyle(e).backgroundColor);
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(paint(backgrounds)), luminance(paint([...backgrounds, ink]))].sort((x, y) => y - x);
    lowest = Math.min(lowest, (a + 0.05) / (b + 0.05));
  }
  return lowest;
})()"""
