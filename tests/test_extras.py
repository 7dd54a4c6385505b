"""What an install without extras lacks is said in one sentence, with the command that installs it."""

import json
import re
import shutil
import sys
import tomllib
from importlib import metadata
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

import sparsefuse
import tiny
from command import call
from sparsefuse import extras
from sparsefuse.extras import need
from sparsefuse.media.write import write_clip

ROOT = Path(__file__).parent.parent
ORIGIN = extras._origin
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted(Path(sparsefuse.__file__).parent.rglob("*.py"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").rglob("*.yaml"), *SOURCES]


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", text)[0].lower().replace("_", "-") for text in requirements}


EXTRAS = {name: distributions(wanted) for name, wanted in PROJECT["optional-dependencies"].items()}
HINT = r"(?:sparsefuse|[\"']\.)\[([^\]{]*)\]"
PURPOSES = EXTRAS.keys() - {"all", "dev"}
OF_MODULE = {
    module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
}


def needs() -> list[tuple[str, str]]:
    """(module, extra) of every call of `need`, whose first arguments are literals."""
    calls = [
        call for path in SOURCES for call in re.findall(r"\bneed\((?!module)(.*)", path.read_text(encoding="utf-8"))
    ]
    pairs = [re.match(r'"(\w+)", "(\w+)", ', call) for call in calls]
    assert all(pairs), calls
    return [pair.groups() for pair in pairs]


def test_every_extra_is_needed_somewhere_and_brings_what_is_needed() -> None:
    assert {extra for _, extra in needs()} == PURPOSES
    assert not [(module, extra) for module, extra in needs() if not OF_MODULE[module] & EXTRAS[extra]]


def test_every_command_that_installs_names_extras_that_exist() -> None:
    asked = [(page.name, names) for page in PAGES for names in re.findall(HINT, page.read_text(encoding="utf-8"))]
    assert len(asked) > 5
    assert not [(page, names) for page, names in asked if not EXTRAS.keys() >= set(names.split(","))]


def test_all_is_every_purpose() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert set(everything.removeprefix("sparsefuse[").removesuffix("]").split(",")) == PURPOSES


def test_the_docs_name_the_packages_of_every_extra() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\w.*) \|$", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.M)
    assert {extra: distributions(packages.split(", ")) for extra, packages in rows} == {
        extra: EXTRAS[extra] for extra in PURPOSES
    }


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], cited["version"], cited["license"], cited["abstract"]) == tuple(
        PROJECT[key] for key in ("name", "version", "license", "description")
    )
    assert sparsefuse.__version__ == cited["version"]


def test_modules_of_extras_are_imported_in_functions_alone() -> None:
    """Or where types are checked, which is indented too."""
    optional = {module for module, names in OF_MODULE.items() if any(names & EXTRAS[extra] for extra in PURPOSES)}
    assert {"onnx", "ray", "cv2", "python_multipart"} <= optional
    pattern = re.compile(rf"^(?:from|import) (?:{'|'.join(optional)})\b.*", re.MULTILINE)
    assert not [(path, line) for path in SOURCES for line in pattern.findall(path.read_text(encoding="utf-8"))]


def test_a_package_that_is_there_and_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halved.py").write_text("import quarter_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    hint = r"halving needs halved: pip install 'sparsefuse\[ray\]' \(No module named 'quarter_of_it'\)$"
    with pytest.raises(ImportError, match=hint):
        need("halved", "ray", "halving")


EDITABLE = {"url": "file://FOLDER", "dir_info": {"editable": True}}
INSTALLED = {
    "checkout": (EDITABLE, "FOLDER", "pip install -e 'FOLDER[serve]'"),
    "checkout, here": (EDITABLE, "", "pip install -e '.[serve]'"),
    "copy of a folder": ({"url": "file://FOLDER", "dir_info": {}}, "FOLDER", "pip install 'FOLDER[serve]'"),
    "wheel": ({"url": "file://WHEEL", "archive_info": {}}, "", "pip install 'sparsefuse[serve] @ file://WHEEL'"),
    "folder that is gone": ({"url": "file:///no/such", "dir_info": {}}, "", "pip install 'sparsefuse[serve]'"),
    "repository": ({"url": "https://h/sparsefuse.git", "vcs_info": {}}, "", "pip install 'sparsefuse[serve]'"),
    "index": (None, "", "pip install 'sparsefuse[serve]'"),
}


@pytest.mark.parametrize(("origin", "elsewhere", "command"), INSTALLED.values(), ids=INSTALLED)
def test_an_extra_comes_from_where_the_package_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict | None, elsewhere: str, command: str
) -> None:
    """The command that an error gives works where it is typed."""
    folder, wheel = tmp_path / "check out", tmp_path / "sparsefuse-1-py3-none-any.whl"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    wheel.touch()
    monkeypatch.chdir(tmp_path if elsewhere else folder)
    noted = origin and json.dumps(origin).replace("FOLDER", folder.as_uri().removeprefix("file://"))
    noted = noted and noted.replace("WHEEL", str(wheel))
    monkeypatch.setattr(extras, "_origin", ORIGIN)
    monkeypatch.setattr(metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: noted))
    assert extras.install_command("serve") == command.replace("FOLDER", str(folder)).replace("WHEEL", str(wheel))


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_origin", ORIGIN)
    monkeypatch.setattr(metadata, "distribution", Mock(side_effect=metadata.PackageNotFoundError))
    assert extras.install_command("hub") == "pip install 'sparsefuse[hub]'"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of features, its configuration and a run; a film; manifests of it and of a film on the web."""
    folder = tmp_path_factory.mktemp("made")
    config = tiny.config(tiny.write_set(folder / "data"), epochs=1)
    tiny.write_yaml(folder / "config.yaml", config)
    write_clip(folder / "film.mp4", np.zeros((4, 16, 16, 3), np.uint8), fps=4)
    (folder / "films.csv").write_text("id,video,label\na,film.mp4,x\n")
    (folder / "web.csv").write_text("id,video,label\na,https://localhost/film.mp4,x\n")
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "train", folder / "config.yaml", "--out", folder / "run") == 0
    return folder


EXTRACT = "extract {}.csv --out out --jobs 1 --features.made.source video --features.made.extractor"
VERBS = {
    "serve": ("uvicorn", "serve", "serve run"),
    "serve, forms": ("python_multipart", "serve", "serve run"),
    "export": ("onnxscript", "export", "export run"),
    "export, checked": ("onnxruntime", "export", "export run"),
    "export, int8": ("onnx", "export", "export run --int8"),
    "encoder": ("transformers", "encoders", f"{EXTRACT.format('films')} encoder --features.made.model no/such"),
    "flow": ("cv2", "flow", f"{EXTRACT.format('films')} flow"),
    "web": ("aiohttp", "hub", f"{EXTRACT.format('web')} frames"),
    "budget": ("optuna", "search", "budget config.yaml --gmacs 1 --out out"),
    "compare": ("sklearn", "baseline", "compare config.yaml --methods baseline --out out"),
    "train": ("sklearn", "baseline", "train config.yaml --method baseline --out out"),
    "ray": ("ray", "ray", "compare config.yaml --methods late --engine ray --out out"),
    "pull": ("huggingface_hub", "hub", "pull hub://some/run out"),
    "push": ("huggingface_hub", "hub", "push run hub://some/run"),
    "datasets": ("datasets", "hub", "export-features config.yaml --format hf --out out"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
@pytest.mark.parametrize(("module", "extra", "command"), VERBS.values(), ids=VERBS)
def test_without_a_package_the_verb_says_how_to_get_it(
    made: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str, command: str
) -> None:
    monkeypatch.chdir(made)
    shutil.rmtree("out", ignore_errors=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    ended = call(monkeypatch, *command.split())
    assert re.fullmatch(rf"error: [^\n]* needs {module}: pip install 'sparsefuse\[{extra}\]'", str(ended)), ended
    assert not list(made.glob("out/**/*.safetensors"))
