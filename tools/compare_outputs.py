"""Compares what two checkouts write: predictions, rejects and report.json, for every input form.

    python tools/compare_outputs.py --before CHECKOUT --data DIR --scratch DIR

Both checkouts need a `.venv`. DIR holds `mnist/` and `semeion/`. Inputs: the 10,000 MNIST test images in every form of
`tests/contracts.py`, Semeion, and a folder of the transforms of `tests/images/transforms.py` with images that are
rejects. Tables must be equal without their Parquet metadata. Texts of rejects and warnings may differ as listed in
`reworded_texts.tsv` (a regular expression for the whole old text, and its replacement). Timings, versions, fingerprints
and dates are not compared. Exits with 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from contracts import FORMS, Digits, png_of
from images.transforms import TRANSFORMS, beside

from mnist_batch.sources.idx import read_idx

REWORDED = Path(__file__).with_name("reworded_texts.tsv")
# For each transform, this many images.
TRANSFORMED = 60


def write_inputs(data: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields name and arguments of `predict` for each input, which is written if it is not there yet."""
    pixels = read_idx(next((data / "mnist").glob("t10k-images-idx3-ubyte*")))
    labels = read_idx(next((data / "mnist").glob("t10k-labels-idx1-ubyte*")))
    digits = Digits(pixels, labels)
    for name, write in FORMS.items():
        form = folder / re.sub(r"\W+", "_", name)
        arguments = form / "arguments.json"
        if not arguments.exists():
            form.mkdir(parents=True, exist_ok=True)
            written = write(form, digits)
            range_ = written.options.pixel_range
            arguments.write_text(json.dumps([written.input, *(["--pixel-range", range_] if range_ else [])]))
        yield name, json.loads(arguments.read_text())
    yield "semeion", [str(next((data / "semeion").glob("*images*")))]
    transformed = folder / "transforms"
    if not transformed.exists():
        write_transforms(transformed, pixels, labels)
    yield "transforms", [str(transformed), "--max-reject-rate", "1"]
    yield "transforms, all framed", [str(transformed), "--max-reject-rate", "1", "--preprocess", "frame"]
    yield "transforms, none framed", [str(transformed), "--max-reject-rate", "1", "--preprocess", "none"]
    yield "transposed", [*json.loads((folder / "idx" / "arguments.json").read_text()), "--transpose"]


def write_transforms(folder: Path, pixels: Any, labels: Any) -> None:
    generator = np.random.default_rng(0)
    transforms = {**TRANSFORMS, "beside another": beside(pixels[1])}
    for name, transform in transforms.items():
        for row in range(TRANSFORMED):
            image = transform(pixels[row], generator)
            content = image if isinstance(image, bytes) else png_of(image)
            path = folder / re.sub(r"\W+", "_", name) / str(labels[row]) / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    damaged = folder / "damaged"
    damaged.mkdir()
    png = png_of(np.pad(pixels[0], 40))
    for name, content in {
        "empty.png": b"",
        "cut.png": png[:-40],
        "flipped.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "text.png": b"not an image",
        "blank.png": png_of(np.full((90, 90), 200, np.uint8)),
        "noise.png": png_of(generator.normal(128, 20, (90, 90)).clip(0, 255).astype(np.uint8)),
        "small.png": png_of(np.zeros((5, 5), np.uint8)),
        "line.png": png_of(np.pad(np.full((3, 200), 255, np.uint8), 30)),
        "bomb.png": png[:16] + (20_000).to_bytes(4, "big") * 2 + png[24:],
    }.items():
        (damaged / name).write_bytes(content)


def run(checkout: Path, arguments: list[str], output: Path) -> str:
    """Runs `predict` and returns its stderr. Raises CalledProcessError unless it exits with 0."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [checkout / ".venv/bin/python", "-m", "mnist_batch", "predict", *arguments, "--output", output]
    done = subprocess.run(
        [*map(str, command), "--probabilities", "--overwrite"],
        env=environment,
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stderr


def read_parts(folder: Path) -> pa.Table | None:
    parts = sorted(folder.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(part).replace_schema_metadata() for part in parts]) if parts else None


class Rewording:
    """Turns texts of the older checkout into those of the newer one. used: the lines of the table that were needed."""

    def __init__(self, table: Path) -> None:
        lines = [line.split("\t") for line in table.read_text().splitlines() if line and not line.startswith("#")]
        self._rules = [(re.compile(old, re.DOTALL), new) for old, new in lines]
        self.used: set[str] = set()

    def __call__(self, text: str) -> str:
        for old, new in self._rules:
            if (found := old.fullmatch(text)) is not None:
                self.used.add(old.pattern)
                return found.expand(new)
        return text


def comparable_report(output: Path, reword: Rewording | None) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    del report["timings"], report["run"]["finished"], report["run"]["version"], report["run"]["fingerprint"]
    if reword is not None:
        report["warnings"] = [reword(warning) for warning in report["warnings"]]
        for examples in report["reject_examples"].values():
            for example in examples:
                example["detail"] = reword(example["detail"])
    return report


def list_differences(before: Path, after: Path, reword: Rewording) -> list[str]:
    differences = []
    old, new = (read_parts(output / "predictions") for output in (before, after))
    if old is None or new is None or not old.equals(new):
        differences.append("predictions")
    old, new = (read_parts(output / "rejects") for output in (before, after))
    if old is not None:
        details = pa.array([reword(detail) for detail in old["detail"].to_pylist()], pa.string())
        old = old.set_column(old.column_names.index("detail"), "detail", details)
    if (old is None) != (new is None) or (old is not None and not old.equals(new)):
        differences.append("rejects")
    reports = comparable_report(before, reword), comparable_report(after, None)
    differences += [
        f"report.json: {key}" for key in reports[0] | reports[1] if reports[0].get(key) != reports[1].get(key)
    ]
    if [list(report) for report in reports[:1]] != [list(report) for report in reports[1:]]:
        differences.append("report.json: order of keys")
    return differences


def main() -> int:
    """Compares all inputs and prints one line for each."""
    parser = argparse.ArgumentParser(description="Compare what two checkouts write.")
    parser.add_argument("--before", type=Path, required=True, help="the older checkout, with a .venv")
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds mnist/ and semeion/")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for inputs and outputs")
    options = parser.parse_args()
    reword = Rewording(REWORDED)
    failed = 0
    for name, arguments in write_inputs(options.data.resolve(), options.scratch.resolve() / "inputs"):
        before, after = (options.scratch.resolve() / side for side in ("before", "after"))
        run(options.before.resolve(), arguments, before)
        run(PROJECT, arguments, after)
        differences = list_differences(before, after, reword)
        report = json.loads((after / "report.json").read_text())
        verdict = "DIFFERENT: " + ", ".join(differences) if differences else "identical"
        print(f"{name:32} {report['predicted']:6} predicted {report['rejected']:4} rejected  {verdict}", flush=True)
        failed += bool(differences)
    print(f"{len(reword.used)} reworded texts were met; {failed} inputs differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
