"""What the README, the docs and the configs tell people to type works."""

import re
import shlex
from pathlib import Path

import pytest

from sparsefuse.cli.app import WITH_CONFIG, _parser
from sparsefuse.cli.argv import on_top, spelled_out

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "configs").rglob("*.yaml")])


def commands() -> list[tuple[str, str]]:
    """(page, command) of every `sparsefuse VERB ...` line of a code block or a config's header."""
    found = []
    for page in PAGES:
        for line in page.read_text().splitlines():
            match = re.match(r"(?:#\s+|torchrun .* -m )?(sparsefuse [a-z]+ .*?)(\s+#.*)?$", line.strip())
            if match:
                found.append((page.name, match[1]))
    return found


def test_commands_are_found():
    assert len(commands()) > 12


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_documented_command_parses(page, command, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    argv = spelled_out(shlex.split(command)[1:], WITH_CONFIG)
    parser = _parser(argv)
    found = parser.parse_args(on_top(argv, lambda rest: vars(parser.parse_args(rest)[rest[0]])))
    assert found.verb == argv[0]


def test_python_of_the_readme_runs(capsys):
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    exec(compile(block[1], "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    said = [line.split("  # ")[1] for line in block[1].splitlines() if line.startswith("print(")]
    assert printed == said


def test_manifest_of_the_readme_reads(tmp_path):
    from sparsefuse.data.manifest import read_manifest

    block = re.search(r"```csv\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    (tmp_path / "manifest.csv").write_text(block[1])
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert manifest.modalities == ("video",)
    assert [row.label for row in manifest.rows] == ["applause", "rain"]


def test_every_verb_takes_its_configuration_from_a_leading_yaml():
    for verb in set(WITH_CONFIG) - {"extract"}:
        assert spelled_out([verb, "a.yaml"], WITH_CONFIG) == [verb, "--config", "a.yaml"]
