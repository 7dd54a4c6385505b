"""Every page for users is walked, command by command, as far as a fresh clone and the demo go.

Training is cut to one epoch and one seed, and servers are not started. What a block needs is made where possible.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command import call
from films import write_films
from pages import GUIDES, ROOT, Block, blocks, run_python
from sparsefuse.cli import demo
from sparsefuse.files.whole import read_json

DEMO = "sparsefuse demo"
MADE = re.compile(r"sparsefuse demo$|films/|(?!.*(GPU|network)).*from (above|the step before)$")
"""what blocks need and the walk, or the page's blocks before, make"""
ENDLESS = ("serve",)
FEW = {"unimodal_depth": 1, "fusion_depth": 2}
"""exporting the twelve layers of the demo as shipped takes half a minute, and shows no more"""
ONE = ["--train.epochs", "1"]
ONCE = ("export",)
"""takes long, and tests of its own try every option"""
SEEN: set[tuple[Path, str]] = set()
"""what a page has run where; another need not"""
SHORTER = {"train": ONE, "fit": ["--epochs", "1"], "compare": [*ONE, "--seeds", "0"], "ablate": [*ONE, "--seeds", "0"]}


def walked(block: Block) -> bool:
    """Whether a block can be run here, and not read only."""
    return block.language in ("sh", "python") and (not block.needs or MADE.match(block.needs) is not None)


def test_most_blocks_are_walked():
    shell = [block for page in GUIDES for block in blocks(page, "sh")]
    assert sum(map(walked, shell)) > len(shell) / 3


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo in it, small, with models of few layers, and with what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(demo, "OPTIONS", {"all": FEW, **demo.OPTIONS})
        demo.run(folder / "sparsefuse-demo", clips=45, epochs=1, seed=0)
    (folder / "printed.txt").write_text(printed.getvalue())
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_the_demo_goes_from_clips_to_a_prediction(request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue("shown")  # once costs are made up
    out = folder / "sparsefuse-demo"
    assert "5. Predict" in (folder / "printed.txt").read_text()
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    table = (out / "compare.md").read_text()
    for name in ("sft", "concat", "late", "unimodal (picture)", "unimodal (sound)"):
        assert f"| {name} |" in table
    gmacs = {m: read_json(out / "runs" / f"{m}-seed0" / "result.json")["cost"]["gmacs"] for m in ("sft", "concat")}
    assert gmacs["concat"] > gmacs["sft"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
@pytest.mark.parametrize("page", [p for p in GUIDES if any(map(walked, blocks(p)))], ids=lambda page: page.stem)
def test_a_page_can_be_followed(
    page: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path
    if any(block.needs == DEMO for block in blocks(page)):
        here = request.getfixturevalue("shown")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    for name in ("configs", "examples"):
        (here / name).is_symlink() or (here / name).symlink_to(ROOT / name)
    if any(block.needs.startswith("films/") for block in blocks(page)):
        write_films(here)
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in blocks(page):
        named = re.search(r"`(\w+\.\w+)`:\n\n```\w+\n$", "\n".join(text.splitlines()[: block.line]) + "\n")
        if named:
            Path(named[1]).write_text(block.text)
        elif walked(block) and block.language == "python":
            run_python(block, names)
        elif walked(block):
            follow(block, monkeypatch)


def follow(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the lines of a shell block."""
    for line in block.commands:
        variable = re.fullmatch(r"(\w+)=(\S+)", line)
        if variable:
            monkeypatch.setenv(variable[1], variable[2])
            continue
        command = os.path.expandvars(line)
        argv = shlex.split(command)
        key = (Path.cwd(), argv[1] if argv[0] == "sparsefuse" and argv[1] in ONCE else command)
        if key in SEEN:
            continue
        SEEN.add(key)
        if argv[0] == "sparsefuse" and "|" not in argv:
            if argv[1] in ENDLESS:
                continue
            more = SHORTER.get(argv[1], [])
            assert call(monkeypatch, *argv[1:], *more) == 0, f"{block}: {line}"
        elif not re.match(r"python -m (pip|pytest)|pip ", line):  # the environment is as it is
            words = re.sub(r"\bsparsefuse (?=[a-z])", f"{sys.executable} -m sparsefuse ", line)
            words = re.sub(r"^python ", f"{sys.executable} ", words)
            subprocess.run(["bash", "-euc", words], check=True, timeout=300)
