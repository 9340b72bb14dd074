"""Imports point down, heavy libraries stay behind their borders. The other lock is ruff's banned imports."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mnist_batch"
# From the bottom up. Modules of the base may import each other; other parts on one level may not.
BASE = {"config", "errors", "names", "records", "runtime", "shards", "timing"}
LEVELS = [
    BASE,
    {"images"},
    {"model", "output", "report", "sources"},
    {"run", "training"},
    {"api"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
HOMES = {
    "tensorflow": {"model", "training"},
    "keras": {"model", "training"},
    "cv2": {"images"},
    "pandas": {"run.result", "output.unique", "sources.label_file"},
    "jinja2": {"report.render.page"},
    "h5py": {"model"},
    "prometheus_client": {"cli.metrics"},
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    return {name.removeprefix("mnist_batch.") for name in imports(path)} & MODULES.keys()


def test_every_module_stands_on_a_level():
    assert {name.split(".")[0] for name in MODULES} == set(LEVEL)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name):
    part = name.split(".")[0]
    for imported in own_imports(MODULES[name]):
        other = imported.split(".")[0]
        allowed = other == part or LEVEL[other] < LEVEL[part] or {other, part} <= BASE
        assert allowed, f"{name} imports {imported}"


def test_no_module_imports_itself_in_a_circle():
    TopologicalSorter({name: own_imports(path) for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("library", sorted(HOMES))
def test_heavy_libraries_are_imported_at_home_only(library):
    users = {name for name, path in MODULES.items() if any(i.split(".")[0] == library for i in imports(path))}
    assert {name for name in users if name not in HOMES[library] and name.split(".")[0] not in HOMES[library]} == set()


def test_the_command_line_imports_nothing_that_starts_threads_before_signals_are_blocked():
    heavy = {"numpy", "pyarrow", "cv2", "pandas", "prometheus_client"}
    code = f"import sys, mnist_batch.cli.app; print(sorted({heavy} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["predict", "--help"],
        ["predict", "sample_data/digits"],
        ["predict", "no_such_input", "--output", "OUT"],
        ["predict", "sample_data/digits", "--output", "tests"],
        ["inspect", "sample_data"],
        ["models"],
        ["report", "sample_data"],
        ["train", "--output", "OUT", "--recipe", "no_such_recipe"],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_imports_no_tensorflow(arguments, tmp_path):
    code = (
        "import sys; from mnist_batch.cli.app import main; main(sys.argv[1:]);"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *(str(tmp_path) if word == "OUT" else word for word in arguments)],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "[]"
