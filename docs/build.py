"""Builds the docs as a site: `python docs/build.py` writes site/html, and fails at any warning.

What goes in are the pages as they lie in the repository, with what they link to, and a reference written here: of the
commands and the configuration from the command line's own parser, of Python from the docstrings.
"""

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import sparsefuse
from sparsefuse.cli.app import _parser
from sparsefuse.cli.verbs import VERBS, WITH_CONFIG
from sparsefuse.config import Config

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "site" / "source"
RETURNED = ("sparsefuse.inference.predictor.Prediction", "sparsefuse.report.table.Table")
"""what public functions give, beside what is public"""
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md")
FOLDERS = {
    "docs": (".md", ".svg", ".png", ".css"),
    "results": (".md", ".svg", ".png", ".csv"),
    "examples": (".py", ".ipynb", ".html", ".js"),
}


def main() -> None:
    """See the module's docstring."""
    gather()
    write_reference(SOURCE / "docs" / "reference")
    ended = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT, check=False)
    sys.exit(ended.returncode)


def gather() -> None:
    """Copies the pages and what they link to; the first page shows the picture of the scheme that is switched on."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    wanted = [ROOT / page for page in PAGES]
    for folder, suffixes in FOLDERS.items():
        wanted += [path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    for path in wanted:
        target = SOURCE / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":  # an escape of GitHub's Markdown, which this one would show
            target.write_text(path.read_text(encoding="utf-8").replace(r"\@", "@"), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    readme = SOURCE / "README.md"
    readme.write_text(re.sub(r"<picture>.*?</picture>", _both_schemes, readme.read_text(encoding="utf-8"), flags=re.S))


def _both_schemes(picture: re.Match[str]) -> str:
    """Markdown for both images of a <picture>; the theme hides the one of the other scheme."""
    dark, alt, light = re.findall(r'(?:srcset|alt|src)="([^"]*)"', picture[0])
    return f"![{alt}]({light}#only-light)\n![{alt}]({dark}#only-dark)"


def write_reference(folder: Path) -> None:
    """The pages that nobody writes by hand."""
    folder.mkdir(parents=True)
    (folder / "commands.md").write_text(commands(), encoding="utf-8")
    (folder / "configuration.md").write_text(configuration(), encoding="utf-8")
    (folder / "python.md").write_text(python(), encoding="utf-8")


def commands() -> str:
    """Every verb with what it does and its options."""
    parts = ["# Commands\n\n`sparsefuse VERB --help` prints the same. Options of a configuration are on "]
    parts[0] += "[a page of their own](configuration.md), and may follow every verb that takes a `CONFIG.yaml`."
    for verb in VERBS:
        parser = _parser_of(verb)
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        shown = [action for action in _options(parser) if not (verb in WITH_CONFIG and _configures(action))]
        parts += [f"## {verb}\n\n{parser.description}\n\n```text\n{usage}\n```", *map(_entry, shown)]
    return "\n\n".join(parts) + "\n"


def configuration() -> str:
    """Every field of a configuration, by its groups."""
    parts = ["# Configuration\n\nA YAML holds what differs from the defaults; flags go on top: `--train.lr 1e-3`."]
    parts[0] += " A wrong name gets its nearest match. `sparsefuse train CONFIG.yaml --print_config` prints all of it."
    found = [action for action in _options(_parser_of("train")) if _configures(action)]
    groups = {"": "Of a run"} | {field.name: field.name for field in fields(Config)}
    for group, title in groups.items():
        entries = [action for action in found if action.dest.rpartition(".")[0].split(".")[0] == group]
        if entries:
            parts += [f"## {title}", *map(_entry, entries)]
    return "\n\n".join(parts) + "\n"


def python() -> str:
    """The public names of the package, each from the module that its type checkers read it from."""
    text = Path(sparsefuse.__file__).read_text(encoding="utf-8")
    homes = {name: home for home, name in re.findall(r"from (sparsefuse[.\w]*) import (\w+) as \2", text)}
    parts = ["# Python\n\nEverything that `import sparsefuse` offers. Commands and functions of one name do the same."]
    named = [f"{homes[name]}.{name}" for name in sparsefuse.__all__]
    parts += [f"::: {place}" for place in (*named, *RETURNED)]
    return "\n\n".join(parts) + "\n"


def _parser_of(verb: str) -> argparse.ArgumentParser:
    subparsers = _parser([verb])._subcommands_action  # pyright: ignore[reportAttributeAccessIssue]
    return subparsers._name_parser_map[verb]


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = ("help", "print_config", "data", "train", "study", "budget", "split", "data.split")
    return [action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest not in hidden]


def _configures(action: argparse.Action) -> bool:
    return action.dest.split(".")[0] in {field.name for field in fields(Config)}


def _entry(action: argparse.Action) -> str:
    """A definition: the option, then what it does, its type and its default."""
    name = action.option_strings[0] if action.option_strings else action.dest.upper()
    text = (action.help or "").strip().rstrip(".")
    notes = f"{text[:1].upper()}{text[1:]}. {_kind(action)}"
    if action.option_strings and action.default not in (None, "", argparse.SUPPRESS) and action.nargs != 0:
        notes += f" Default: `{action.default}`."
    return f"`{name}`\n\n:   {notes}"


def _kind(action: argparse.Action) -> str:
    """What an option takes, in words; nothing for a switch."""
    hint: Any = getattr(action, "_typehint", None) or action.type
    if action.nargs == 0 or hint is None:
        return ""
    if get_origin(hint) is Literal:
        return f"One of {', '.join(f'`{word}`' for word in get_args(hint))}."
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return f"Type: `{re.sub(r'[a-z_.]+[.](?=[A-Z])', '', text)}`."


if __name__ == "__main__":
    main()
