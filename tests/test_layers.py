"""Modules import only from lower levels, and heavy libraries only in the modules that need them.

Ruff's banned-module-level-imports checks the heavy libraries too.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mnist_batch"
# From the bottom up. Modules of the base may import each other; other parts of one level may not.
BASE = {
    "columns",
    "config",
    "documents",
    "errors",
    "hashing",
    "names",
    "profile",
    "records",
    "regular_files",
    "runtime",
    "shards",
    "signatures",
    "timing",
}
LEVELS = [
    BASE,
    {"images"},
    {"model", "report", "sources"},
    {"output"},
    {"run", "training"},
    {"api"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
# The parts and modules that may import a heavy library.
ALLOWED = {
    "tensorflow": {"model.backend"},
    "keras": {"model.backend"},
    "cv2": {"images.opencv"},
    "pandas": {"run.result", "sources.label_file"},
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
    """The names that a file imports: modules, and for `from` imports also their members."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            assert node.module is not None
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    return {name.removeprefix("mnist_batch.") for name in imports(path)} & MODULES.keys()


def test_every_module_has_a_level() -> None:
    assert {name.partition(".")[0] for name in MODULES} == set(LEVEL)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name: str) -> None:
    part = name.partition(".")[0]
    for imported in own_imports(MODULES[name]):
        other = imported.partition(".")[0]
        allowed = other == part or LEVEL[other] < LEVEL[part] or {other, part} <= BASE
        assert allowed, f"{name} imports {imported}"


def test_imports_have_no_cycle() -> None:
    TopologicalSorter({name: own_imports(path) for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("library", sorted(ALLOWED))
def test_heavy_imports_stay_in_their_modules(library: str) -> None:
    users = {name for name, path in MODULES.items() if any(i.partition(".")[0] == library for i in imports(path))}
    allowed = ALLOWED[library]
    assert {name for name in users if name not in allowed and name.partition(".")[0] not in allowed} == set()


def test_cli_import_starts_no_threads() -> None:
    """Signals must be blocked before a library starts threads."""
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
def test_tensorflow_is_not_imported_early(arguments: list[str], tmp_path: Path) -> None:
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
