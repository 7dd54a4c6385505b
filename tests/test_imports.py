"""Imports point one way, and the light parts stay light."""

import ast
import functools
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sparsefuse

ROOT = Path(sparsefuse.__file__).parent

# Each may import those before it. What stands in none of them is a mistake: a new one belongs in the list.
ORDER = [
    *(
        "callable_package",
        "screen",
        "once",
        "shown",
        "errors",
        "options",
        "extras",
        "tokens",
        "files",
        "config",
        "parallel",
        "media",
        "layers",
        "metrics",
        "mixup",
        "environment",
        "model",
        "data",
        "baseline",
        "rooms",
    ),
    *(
        "features",
        "methods",
        "checks",
        "cost",
        "runs",
        "report",
        "training",
        "inference",
        "experiments",
    ),
    *(
        "sharing",
        "explain",
        "export",
        "study",
        "budget",
        "distill",
        "finetune",
        "serve",
        "classifier",
        "cli",
        "__main__",
    ),
]
LEVEL = {name: level for level, name in enumerate(ORDER)}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# "" is the package itself: it imports nothing but on demand
MODULES = {module_name(path): path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__"}


def imports(tree):
    """Dotted names below `sparsefuse` that a module imports, in functions and for type checking too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if (node.module or "").split(".")[0] == "sparsefuse":
                for alias in node.names:
                    yield f"{node.module}.{alias.name}".split(".", 1)[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".", 1)[1] for a in node.names if a.name.startswith("sparsefuse."))
        yield from imports(node)


def home(name):
    """The module that a dotted name lies in, or None for the package's own (`__version__`)."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


@functools.cache
def edges():
    found = []
    for name, path in MODULES.items():
        homes = map(home, imports(ast.parse(path.read_text(encoding="utf-8"))))
        found += [(name, other) for other in homes if other not in (None, name)]
    return found


def top(name):
    return name.split(".")[0]


def test_the_walk_sees_imports():
    found = set(edges())
    assert ("methods.sft", "layers.pool") in found
    assert ("model", "mixup") in found
    assert ("cli.verbs.studies", "experiments.grid") in found  # in a function
    assert ("report.page", "report.charts") in found  # from sparsefuse.report import charts


def test_every_module_has_its_place():
    assert {top(name) for name in MODULES} == set(ORDER)


def test_imports_point_one_way():
    wrong = [f"{a} imports {b}" for a, b in edges() if LEVEL[top(a)] < LEVEL[top(b)]]
    assert not wrong


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {name: set() for name in MODULES}
    for a, b in edges():
        graph[a].add(b)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_methods_never_import_one_another():
    wrong = [f"{a} imports {b}" for a, b in edges() if a.startswith("methods.") and top(b) == "methods"]
    assert not wrong


def test_data_never_imports_features():
    assert not [f"{a} imports {b}" for a, b in edges() if top(a) == "data" and top(b) == "features"]


@pytest.mark.parametrize("package", ["layers", "methods", "model"])
def test_models_know_no_modality_by_name(package):
    """Modality names come from the data."""
    for name, path in MODULES.items():
        if top(name) == package:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant):
                    assert node.value not in ("rgb", "audio", "text", "flow", "spectrogram", "vision"), name


def test_importing_the_package_loads_nothing_but_python_itself():
    code = "import sys; before = set(sys.modules); import sparsefuse; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names == {"sparsefuse"}


@pytest.mark.parametrize(
    "code",
    [
        "import sparsefuse; assert sparsefuse.__version__",
        "import sparsefuse; assert 'sft' in sparsefuse.methods()",
        "from sparsefuse.methods import methods; assert 'sft' in methods()",
        "import sparsefuse; sparsefuse.Classifier(epochs=3)",
        "import sparsefuse.report.page, sparsefuse.report.charts",
        "import sparsefuse; sparsefuse.Config.load('clips.csv', train={'epochs': 3})",
        "import sparsefuse.cli.app",
        "from sparsefuse.features import extract, build; [build(name, {}) for name in ('frames', 'spectrogram')]",
    ],
)
def test_torch_is_not_loaded_by(code):
    check = "; import sys; assert 'torch' not in sys.modules, 'torch is loaded'"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
