"""The content of `report.html`, read as text. `test_page_in_chromium.py` checks how it looks."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mnist_batch.profile import Profile
from mnist_batch.records import RejectReason
from mnist_batch.report.baseline import compare_reports
from mnist_batch.report.drift import build_profile
from mnist_batch.report.render.page import render_html, thumbnail
from mnist_batch.report.tally import Tally, tally_batch
from report.rows import batch_of, draw_image, guessed, scores_of, tally
from report.runs import GATES, report

LABELLED = tally([(3, 3, 0.97)] * 40 + [(3, 5, 0.99), (4, 9, 0.45)] + [RejectReason.EMPTY] * 2)
UNLABELLED = tally([(None, 3, 0.97)] * 40)
VOID = {"meta", "img", "line", "rect", "circle", "polyline", "link"}


class Outline(HTMLParser):
    """The tags of a page with their attributes. Fails if they are not nested correctly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("rows", [LABELLED, UNLABELLED, tally([RejectReason.EMPTY]), tally([(7, 7, 1.0)])])
@pytest.mark.parametrize("profile", [None, build_profile(LABELLED, None), build_profile(LABELLED, LABELLED)])
def test_page_is_valid_and_self_contained(rows: Tally, profile: Profile | None) -> None:
    outline = Outline(render_html(report(rows, profile), GATES))
    assert not outline.all("script")
    addresses = [value or "" for _, a in outline.tags for name, value in a.items() if name in ("src", "href")]
    assert bool(addresses) == bool(rows.doubtful)
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]


def test_style_has_no_url() -> None:
    assert not re.search(r"url\(|@import|//", render_html(report(LABELLED), GATES).partition("</style>")[0])


def test_overview_has_accuracy_gates_drift() -> None:
    text = render_html(report(LABELLED, build_profile(UNLABELLED, None)), GATES).replace("\N{NO-BREAK SPACE}", " ")
    assert "95.24 %" in text  # 40 of 42
    assert "95 % interval 84.21 % to 98.68 %, n = 42" in text
    assert "<b>Passed</b> <span>share of rejects 1.25 %, must be at most 5.00 %" in text
    assert "<b>Failed</b> <span>accuracy 90.12 %, must be at least 99.00 %" in text
    assert "<b>No drift</b>" in text


def test_unlabelled_shows_expected_accuracy() -> None:
    text = render_html(report(UNLABELLED), GATES)
    assert "the mean confidence, because no row has a label" in text
    assert "Confusion matrix" not in text
    assert "No profile" in text


def test_names_are_escaped_everywhere() -> None:
    name = "<img src=x onerror=alert(1)>\"'{{ 7*7 }}.png"
    rows = tally([(3, 5, 0.99), RejectReason.EMPTY])
    document = report(rows, inputs=[name])
    document = replace(
        document,
        mistakes=[replace(row, id=name) for row in document.mistakes or ()],
        least_confident=[replace(row, id=name) for row in document.least_confident],
        reject_examples={"empty": [replace(row, id=name) for row in document.reject_examples["empty"]]},
        warnings=[name],
        skipped={name: 1},
        model=replace(document.model, name=name),
    )
    document = replace(document, baseline=compare_reports(document, document, name))
    text = render_html(document, GATES)
    assert "<img src=x" not in text
    assert "49.png" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 9
    assert not [a for _, a in Outline(text).tags if "onerror" in a]


def test_tables_and_images_are_accessible() -> None:
    document = report(LABELLED, build_profile(LABELLED, LABELLED))
    document = replace(document, baseline=compare_reports(document, document, "last week"))
    outline = Outline(render_html(document, GATES))
    assert len(outline.all("table")) == len(outline.all("caption")) >= 9
    assert min(len(outline.all(name)) for name in ("th", "img", "svg")) > 1
    assert all(header.get("scope") in ("row", "col") for header in outline.all("th") if "aria-hidden" not in header)
    assert all(image["alt"] for image in outline.all("img"))
    assert all(svg["role"] == "img" and (svg.get("aria-label") or svg["aria-labelledby"]) for svg in outline.all("svg"))
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_stages_are_shown_if_known() -> None:
    document = report(LABELLED)
    assert "1 min 6 s" in render_html(document, GATES)
    document = replace(document, timings=replace(document.timings, stages={}))
    assert "1 min 6 s" not in render_html(document, GATES)


def test_thumbnail_decodes_to_the_image() -> None:
    address = thumbnail(draw_image(5).tobytes())
    png = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert np.array_equal(decoded, draw_image(5))


def test_common_id_prefix_is_written_once() -> None:
    probabilities, labels = guessed(60)
    text = render_html(
        report(tally_batch(batch_of(np.zeros((60, 28, 28), np.uint8), labels), 0, scores_of(probabilities))), GATES
    )
    assert text.count("<bdi>a.idx#</bdi>") == 2
    assert "<bdi>a.idx#1" not in text


def test_page_size_is_bounded() -> None:
    generator = np.random.default_rng(0)
    probabilities, labels = guessed(3_000, sharpness=1.0)
    batch = batch_of(generator.integers(0, 256, (3_000, 28, 28), np.uint8), labels)
    document = report(tally_batch(batch, 0, scores_of(probabilities)), build_profile(LABELLED, LABELLED))
    assert len(render_html(document, GATES)) < 300_000
