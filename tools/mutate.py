"""Puts small faults into the code, one at a time, and counts those that the tests notice.

Faults come from Cosmic Ray's operators and from two of our own (`dropped.py`). Each is put into a copy of the project,
and the quick tests that run the changed lines are run on it. `docs/testing.md` says how to read the result.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData
from dropped import DropItem, DropStatement

PROJECT = Path(__file__).parent.parent
FOLDERS = ("run", "output", "sources", "images", "model", "report")

# A test process of a mutant that runs this much longer than its tests took before has hung.
_SLOWER = 4
_EXTRA_SECONDS = 120


@dataclass(frozen=True)
class Mutant:
    """One fault: the `occurrence`-th place of `operator` in a file. Lines count from 1."""

    path: str
    operator: str
    occurrence: int
    line: int
    first_line: int  # of the statement around it
    last_line: int

    @property
    def folder(self) -> str:
        return Path(self.path).parts[1]


@dataclass(frozen=True)
class Tests:
    """Which tests run each line, by file, and how long each takes in seconds."""

    by_line: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def that_run(self, mutant: Mutant) -> list[str]:
        """The tests to run, those of the mutant's own folder first, then quick files before slow ones."""
        lines = self.by_line.get(mutant.path, {})
        found = {test for line in range(mutant.first_line, mutant.last_line + 1) for test in lines.get(line, [])}
        if not found - {""}:  # a line of the module itself: every test that uses the module
            found = {test for tests in lines.values() for test in tests}
        if not found - {""}:  # run by child processes only, which coverage.py does not measure here
            found = {test for test in self.seconds if test.startswith(f"tests/{mutant.folder}/")}
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in self.seconds:  # in the order in which pytest runs them
            if test in found:
                by_file[test.split("::")[0]].append(test)

        def slowness(file: str) -> tuple[bool, float]:
            mean = sum(self.seconds[test] for test in by_file[file]) / len(by_file[file])
            return not file.startswith(f"tests/{mutant.folder}/"), mean

        return [test for file in sorted(by_file, key=slowness) for test in by_file[file]]


def main() -> int:
    """Draws mutants, runs the tests on each, and prints the score of each folder and every survivor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True, help="of the sample")
    parser.add_argument("--each", type=int, default=52, help="mutants in each folder")
    parser.add_argument("--folders", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--tests", nargs="+", default=["tests"], help="test files and folders to run")
    parser.add_argument("--at-least", type=int, default=0, help="exit 1 if fewer per cent are noticed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=PROJECT / "build" / "mutate", help="copies and results")
    given = parser.parse_args()

    copies = [copy_project(given.work / f"copy-{n}") for n in range(given.jobs)]
    tests = measure_tests(copies[0], given.work, given.tests, given.jobs)
    mutants = draw(given.folders, given.each, given.seed)
    outcomes = try_all(mutants, tests, copies, given.work / "results.jsonl")
    return print_result(mutants, outcomes, given.at_least)


def copy_project(to: Path) -> Path:
    """Copies the files that Git knows, as they are in the working tree. Scripts find `.venv` through a link."""
    shutil.rmtree(to, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, to / name, follow_symlinks=False)
    (to / ".venv").symlink_to(PROJECT / ".venv")
    return to


def measure_tests(copy: Path, work: Path, paths: list[str], jobs: int) -> Tests:
    """Runs the quick tests once with coverage. The measure is kept until a file of the project changes.

    Tests that fail without any fault are left out, and named.
    """
    digest = sha256(repr(paths).encode())
    for file in sorted(copy.rglob("*.py")):
        digest.update(file.read_bytes())
    measured = work / f"coverage-{digest.hexdigest()[:16]}"
    times = measured.with_suffix(".xml")
    if not times.exists():
        print("running all tests once, with coverage", file=sys.stderr)
        run = subprocess.run(
            [*_pytest(), "-n", str(jobs), "--cov=mnist_batch", "--cov-context=test", "--cov-report=", "-o",
             "junit_family=xunit1", f"--junitxml={times}.new", *paths],
            cwd=copy, env={**_environment(copy), "COVERAGE_FILE": str(measured)}, check=False, stdout=sys.stderr,
        )  # fmt: skip
        if run.returncode > 1:
            run.check_returncode()
        Path(f"{times}.new").replace(times)
    seconds: dict[str, float] = {}
    for case in ElementTree.parse(times).iter("testcase"):
        test = f"{case.attrib['file']}::{case.attrib['name']}"
        if case.find("failure") is not None or case.find("error") is not None:
            print(f"left out, because it fails without a fault: {test}", file=sys.stderr)
        elif case.find("skipped") is None:
            seconds[test] = float(case.attrib["time"])
    if not seconds:
        times.unlink()
        sys.exit("no test passes without a fault: see above")
    data = CoverageData(str(measured))
    data.read()
    by_line = {
        str(Path(file).relative_to(copy)): {
            line: sorted({context.split("|")[0] for context in contexts})
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    return Tests(by_line, seconds)


def draw(folders: list[str], each: int, seed: int) -> list[Mutant]:
    """Draws places, the same number in every folder, and at each place one of its faults.

    Annotations, decorators and docstrings are left out: a fault there is none, or stops every program at once.
    """
    drawn: list[Mutant] = []
    for folder in folders:
        generator = random.Random(f"{seed} {folder}")
        places: dict[tuple[str, str, tuple[int, int]], list[Mutant]] = defaultdict(list)
        for path in sorted((PROJECT / "mnist_batch" / folder).rglob("*.py")):
            for family, start, mutant in _find_mutants(path):
                places[mutant.path, family, start].append(mutant)
        chosen = sorted(places)
        generator.shuffle(chosen)
        valid = (mutant for place in chosen if _changes_program(mutant := generator.choice(places[place])))
        drawn.extend(mutant for mutant, _ in zip(valid, range(each), strict=False))
    return drawn


def mutate(mutant: Mutant, source: str) -> str:
    """The file's text with the fault in it."""
    return mutate_code(source, _operators()[mutant.operator], mutant.occurrence) or source


def try_all(mutants: list[Mutant], tests: Tests, copies: list[Path], results: Path) -> dict[Mutant, str]:
    """Runs the tests on each mutant. Outcomes are kept in `results`, so a run that was stopped goes on."""
    outcomes = _read_outcomes(results)
    free: queue.Queue[Path] = queue.Queue()
    for copy in copies:
        free.put(copy)
    writing = threading.Lock()

    def run(mutant: Mutant) -> None:
        copy = free.get()
        try:
            started = time.monotonic()
            outcome = _try(mutant, tests.that_run(mutant), tests.seconds, copy)
        finally:
            free.put(copy)
        with writing, results.open("a") as file:
            outcomes[_key(mutant)] = outcome
            record = {"key": _key(mutant), "outcome": outcome, "seconds": round(time.monotonic() - started)}
            file.write(json.dumps({**asdict(mutant), **record}) + "\n")
            print(f"{outcome:9} {mutant.path}:{mutant.line} {mutant.operator}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(len(copies)) as pool:
        list(pool.map(run, [mutant for mutant in mutants if _key(mutant) not in outcomes]))
    return {mutant: outcomes[_key(mutant)] for mutant in mutants}


def print_result(mutants: list[Mutant], outcomes: dict[Mutant, str], at_least: int) -> int:
    """Prints the survivors with their difference, then the score of each folder."""
    for mutant in mutants:
        if outcomes[mutant] in {"survived", "untested"}:
            print(f"{outcomes[mutant]}: {mutant.path}:{mutant.line} {mutant.operator}")
            print(_difference(mutant))
    print(f"{'folder':8} {'mutants':>7} {'noticed':>7}")
    for folder in [*dict.fromkeys(mutant.folder for mutant in mutants), "all"]:
        among = [outcomes[mutant] for mutant in mutants if folder in {mutant.folder, "all"}]
        noticed = sum(outcome in {"failed", "hung"} for outcome in among)
        print(f"{folder:8} {len(among):7} {noticed:7} {100 * noticed / len(among):5.1f} %")
    return int(100 * noticed < at_least * len(among))


def _try(mutant: Mutant, selected: list[str], seconds: dict[str, float], copy: Path) -> str:
    if not selected:
        return "untested"
    file = copy / mutant.path
    source = (PROJECT / mutant.path).read_text()
    listed = copy / "tests-of-mutant.txt"
    listed.write_text("\n".join(selected))
    file.write_text(mutate(mutant, source))
    limit = _SLOWER * sum(seconds[test] for test in selected) + _EXTRA_SECONDS
    process = subprocess.Popen(
        [*_pytest(), "--exitfirst", f"@{listed}"],
        cwd=copy, env=_environment(copy), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        process.communicate(timeout=limit)
        return "failed" if process.returncode else "survived"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "hung"
    finally:
        file.write_text(source)


def _pytest() -> list[str]:
    return [sys.executable, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider"]


def _environment(copy: Path) -> dict[str, str]:
    # Compiled files could be mistaken for those of the next mutant. `CI` makes Hypothesis draw the same examples.
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}


def _operators() -> dict[str, Any]:
    known = {name: get_operator(name) for name in operator_names()}
    found = {name.split("/")[-1]: made() for name, made in known.items() if not made.arguments()}
    return {**found, "DropStatement": DropStatement(), "DropItem": DropItem()}


def _find_mutants(path: Path) -> Iterator[tuple[str, tuple[int, int], Mutant]]:
    tree = parso.parse(path.read_text())
    for name, operator in sorted(_operators().items()):
        occurrence = -1
        for node in ast_nodes(tree):
            for start, _ in operator.mutation_positions(node):
                occurrence += 1
                if name == "RemoveDecorator" or _is_declaration(node):
                    continue
                first, last = _statement_lines(node, start[0])
                mutant = Mutant(str(path.relative_to(PROJECT)), name, occurrence, start[0], first, last)
                yield name.split("_")[0], start, mutant


def _is_declaration(node: Any) -> bool:
    """Whether a node is part of an annotation, a decorator, or an import."""
    while node.parent is not None:
        parent = node.parent
        if parent.type in {"decorator", "import_from", "import_name"}:
            return True
        before = parent.children[parent.children.index(node) - 1] if node is not parent.children[0] else None
        if parent.type in {"annassign", "tfpdef"} and before == ":":
            return True
        if parent.type == "funcdef" and before == "->":
            return True
        node = parent
    return False


def _statement_lines(node: Any, line: int) -> tuple[int, int]:
    """The lines of the statement around a node. For `if`, `for` and the like: from its first line to the node's."""
    end = node.end_pos[0]
    while node.parent is not None and not node.type.endswith("_stmt") and node.type != "funcdef":
        node = node.parent
    is_simple = node.type == "expr_stmt" or (node.parent is not None and node.parent.type == "simple_stmt")
    if node.parent is None:
        return line, end
    return node.start_pos[0], node.end_pos[0] if is_simple else max(line, min(end, line + 5))


def _changes_program(mutant: Mutant) -> bool:
    source = (PROJECT / mutant.path).read_text()
    try:
        return ast.dump(ast.parse(mutate(mutant, source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _key(mutant: Mutant) -> str:
    """Names the mutant and the text of its file."""
    source = (PROJECT / mutant.path).read_bytes()
    return f"{mutant.path} {mutant.operator} {mutant.occurrence} {sha256(source).hexdigest()[:12]}"


def _read_outcomes(results: Path) -> dict[str, str]:
    if not results.exists():
        return {}
    records = map(json.loads, results.read_text().splitlines())
    # Tests may have been added since for what was not tested.
    return {record["key"]: record["outcome"] for record in records if record["outcome"] != "untested"}


def _difference(mutant: Mutant) -> str:
    source = (PROJECT / mutant.path).read_text()
    changed = difflib.unified_diff(source.splitlines(), mutate(mutant, source).splitlines(), n=1, lineterm="")
    return "\n".join(f"    {line}" for line in list(changed)[2:])


if __name__ == "__main__":
    sys.exit(main())
