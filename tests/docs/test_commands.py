"""What the README, the docs and the configs tell people to type is what the command line takes."""

import re
from functools import cache
from pathlib import Path

import pytest

from pages import CONFIGS, GUIDES, ROOT, blocks, calls, run_python
from sparsefuse.cli.app import WITH_CONFIG, _parser
from sparsefuse.cli.argv import on_top, spelled_out

SHELL = [block for page in GUIDES for block in blocks(page, "sh")]
COMMAND = re.compile(r"(torchrun .* )?sparsefuse [a-z]+ ")
NEEDS = re.compile(
    r"sparsefuse demo|an? |GRID|UTD-MHAD|VGGSound|CONFIG, |npm, |the study's run "
    r"|films/, |.*from (above|the step before)$"
)


def documented() -> list[tuple[str, list[str]]]:
    """(place, arguments) of every `sparsefuse VERB ...` of a shell block or a config's header."""
    found = [(str(block), argv) for block in SHELL for line in block.commands for argv in calls(line)]
    for page in CONFIGS:
        lines = [line[1:].strip() for line in page.read_text().splitlines() if line.startswith("# ")]
        starts = [
            re.sub(r"\s+#\s.*$", "", line) for line in lines if re.match(r"(torchrun .* )?sparsefuse [a-z]+ ", line)
        ]
        found += [(page.name, argv) for line in starts for argv in calls(line)]
    return found


def test_commands_are_found():
    places = [place for place, _ in documented()]
    assert sum(place.startswith("README.md") for place in places) > 3
    assert sum(place.endswith(".yaml") for place in places) > 6
    assert len(places) > 50


@cache
def parser_of(verb: str):
    """Built once a verb: it takes a fifth of a second."""
    return _parser([verb])


@pytest.mark.parametrize(("place", "argv"), documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_documented_command_parses(place, argv, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in argv:
        if name.endswith(".yaml") and not name.startswith("configs/"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text("{}")  # the page shows its contents
    argv = spelled_out(argv, WITH_CONFIG)
    parser = parser_of(argv[0])
    found = parser.parse_args(on_top(argv, lambda rest: vars(parser.parse_args(rest)[rest[0]])))
    assert found.verb == argv[0]


@pytest.mark.parametrize("block", [b for page in GUIDES for b in blocks(page)], ids=str)
def test_every_block_says_its_language(block):
    assert block.language, "```sh, ```python, ```yaml, ```text ..."


@pytest.mark.parametrize("block", [block for block in SHELL if block.needs], ids=str)
def test_what_a_block_needs_is_something_the_walk_knows(block):
    assert NEEDS.match(block.needs)


def test_the_readme_begins_with_two_commands_that_do_everything():
    install, tests = blocks(ROOT / "README.md", "sh")[0].commands
    assert re.fullmatch(r"python -m pip install --no-compile -e \. [^&]*&& sparsefuse demo", install)
    assert tests == 'python -m pip install --no-compile -e ".[dev]" && python -m pytest'
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


WALKED = [page for page in GUIDES if page.parent.name == "tutorials" or page.stem == "python"]  # block builds on block
FAST = [b for page in GUIDES if page not in WALKED for b in blocks(page, "python") if not b.needs]


@pytest.mark.parametrize("block", FAST, ids=str)
def test_python_runs_and_prints_what_it_says(block, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_python(block, {})


def test_every_verb_takes_its_configuration_from_a_leading_yaml():
    for verb in set(WITH_CONFIG) - {"extract"}:
        assert spelled_out([verb, "a.yaml"], WITH_CONFIG) == [verb, "--config", "a.yaml"]
