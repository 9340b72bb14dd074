"""`mnist-batch report` and `--baseline`."""

from __future__ import annotations

import copy
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from conftest import Cli

from mnist_batch import predict, report
from mnist_batch.documents import DocumentError, to_json
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.records import RejectReason
from mnist_batch.report.baseline import compare_reports
from mnist_batch.report.document import parse_report
from mnist_batch.report.drift import build_profile
from mnist_batch.report.render.page import render_html
from mnist_batch.report.render.text import render_junit, render_markdown
from report.rows import tally
from report.runs import GATES
from report.runs import report as report_of
from tools.write_schema import build_schema

SCHEMA_FILE = Path(report.__file__).parent / "schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text())


@pytest.fixture(scope="module")
def finished_run(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "out"
    predict(sample_data / "digits", output=output, min_accuracy=0.999)
    return output


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """The output of a run whose accuracy gate failed. A test may change it."""
    return Path(shutil.copytree(finished_run, tmp_path / "out"))


def test_page_is_rendered_again_identically(cli: Cli, run: Path) -> None:
    page = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    again = cli("report", run)
    assert (again.code, again.stdout) == (0, f"{run / 'report.html'}\n")
    assert (run / "report.html").read_bytes() == page


def test_reports_match_the_schema(finished_run: Path, sample_data: Path, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    empty = predict(tmp_path / "in", output=tmp_path / "empty", max_reject_rate=1)
    unlabelled = predict(sample_data / "digits", output=tmp_path / "out", labels="none", baseline=finished_run)
    for output in (empty.output, unlabelled.output, finished_run):
        document = json.loads((output / "report.json").read_text())
        jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert unlabelled.report.baseline is not None
    assert unlabelled.report.baseline.accuracy_change is None


def test_schema_is_current() -> None:
    assert build_schema() == SCHEMA_FILE.read_text(), "run `make goldens`"


def test_markdown_has_the_overview(cli: Cli, run: Path) -> None:
    text = cli("report", run, "--format", "md").stdout.replace("\N{NO-BREAK SPACE}", " ")
    assert "| rows | 300 |" in text
    assert "| accuracy | 98.33 % (95 % interval 96.16 % to 99.29 %, n = 300) |" in text
    assert "- **FAILED**: accuracy 98.33 %, must be at least 99.90 %" in text


def test_junit_has_a_case_per_gate(cli: Cli, run: Path) -> None:
    suite = ET.fromstring(cli("report", run, "--format", "junit").stdout).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert {case.get("name"): case.find("failure") is not None for case in suite.iter("testcase")} == {
        "max_reject_rate": False,
        "min_accuracy": True,
    }
    failure = suite.find(".//failure")
    assert failure is not None
    assert "min_accuracy must be at least 0.999, is 0.9833" in failure.attrib["message"]


def test_new_gates_change_the_page(cli: Cli, sample_data: Path, run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert [gate["passed"] for gate in manifest["gates"]] == [True, False]
    assert cli("predict", sample_data / "digits", "--output", run, "--min-accuracy", "0.9").code == 0
    assert "<b>Failed</b>" not in (run / "report.html").read_text()


def test_change_is_shown_with_its_interval(cli: Cli, run: Path, tmp_path: Path) -> None:
    earlier = json.loads((run / "report.json").read_text())
    earlier["confusion"][3][3] -= 20
    earlier["confusion"][3][5] += 20
    earlier["accuracy"] -= 20 / 300
    (tmp_path / "last-week.json").write_text(json.dumps(earlier))
    text = cli("report", run, "--format", "md", "--baseline", tmp_path / "last-week.json").stdout
    assert "accuracy +6.67 points (95 % interval +3.26 to +10.47)" in text
    assert cli("report", run, "--baseline", tmp_path / "last-week.json").code == 0
    assert "+6.67" in (run / "report.html").read_text()


def test_baseline_may_be_the_replaced_set(sample_data: Path, run: Path) -> None:
    result = predict(sample_data / "digits.zip", output=run, overwrite=True, baseline=run)
    baseline = result.report.baseline
    assert baseline is not None
    assert baseline.accuracy_change is not None
    assert (baseline.rows, baseline.same_model, baseline.accuracy_change.change) == (300, True, 0)
    assert {feature.level for feature in baseline.features} == {"stable"}


def test_invalid_baseline_ends_the_run_early(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(InputError, match=r"old\.json: must be a report as a run wrote it, found no `report_version`"):
        predict(sample_data / "digits", output=tmp_path / "out", baseline=tmp_path / "old.json")
    with pytest.raises(InputMissingError, match="must be the report of a complete run, found nothing"):
        predict(sample_data / "digits", output=tmp_path / "out", baseline=tmp_path / "no_such_run")
    (tmp_path / "changed.json").write_text('{"report_version": 1, "predicted": 5}')
    with pytest.raises(
        InputError,
        match=r"changed\.json: must be a report .*, found object missing required field `rows`",
    ):
        predict(sample_data / "digits", output=tmp_path / "out", baseline=tmp_path / "changed.json")
    assert not (tmp_path / "out").exists()


def test_folder_without_a_set_is_untouched(cli: Cli, tmp_path: Path) -> None:
    run = cli("report", tmp_path)
    assert run.code == 66
    assert f"{tmp_path}: must hold a complete set, found none" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_markdown_and_xml_are_escaped(cli: Cli, run: Path) -> None:
    document = json.loads((run / "report.json").read_text())
    document["run"]["inputs"], document["model"]["name"] = ["a|b`<b>\n# x"], "\x01<m>"
    (run / "report.json").write_text(json.dumps(document))
    assert r"### a\|b\`\<b\> \# x scored by" in cli("report", run, "--format", "md").stdout
    properties = ET.fromstring(cli("report", run, "--format", "junit").stdout).iter("property")
    assert {p.get("name"): p.get("value") for p in properties}["model"] == "?<m>"


def test_changed_report_is_refused(cli: Cli, run: Path) -> None:
    changed = json.loads((run / "report.json").read_text()) | {"calibration": 7}
    (run / "report.json").write_text(json.dumps(changed))
    again = cli("report", run)
    assert again.code == 65
    assert "must be a report as a run wrote it, found in `calibration`: expected" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_later_report_is_refused(cli: Cli, run: Path) -> None:
    later = json.loads((run / "report.json").read_text()) | {"report_version": 2}
    (run / "report.json").write_text(json.dumps(later))
    assert "found report_version 2, and this version of mnist-batch reads up to 1" in cli("report", run).stderr


def test_new_keys_of_a_report_are_ignored(cli: Cli, run: Path) -> None:
    changed = json.loads((run / "report.json").read_text())
    changed["new"] = changed["run"]["new"] = changed["mistakes"][0]["new"] = [1]
    (run / "report.json").write_text(json.dumps(changed))
    assert cli("report", run).code == 0


def test_any_damaged_field_is_refused_or_shown() -> None:
    """No content of a report makes this program fail with an exception of its own."""
    rows = tally([(3, 3, 0.97), (3, 5, 0.99), RejectReason.EMPTY])
    whole = report_of(rows, build_profile(rows, rows))
    whole = replace(whole, baseline=compare_reports(whole, whole, "last week"))
    refused = shown = 0
    for damaged in damage(json.loads(to_json(whole))):
        try:
            document = parse_report(damaged)
        except DocumentError:
            refused += 1
            continue
        render_html(document, GATES)
        render_markdown(document, GATES)
        render_junit(document, GATES)
        compare_reports(whole, document, "this one")
        shown += 1
    assert refused > 800
    assert shown > 100


def damage(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the content with one value changed, for each value except those that are far down in a list."""
    for path in list(find_paths(content)):
        values: list[Any] = [None, -1, 0, 7, "x", []]
        for value in values:
            changed = copy.deepcopy(content)
            inner: Any = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            yield changed


def find_paths(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = (
        content.items() if isinstance(content, dict) else enumerate(content[:1]) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield from find_paths(value, (*path, key))
