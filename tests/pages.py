"""The pages for users, and the code blocks in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PAGES = sorted([*GUIDES, ROOT / "LOG.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"])
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


class Block(NamedTuple):
    """A code block: its page, the line it begins on, its language, and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def needs(self) -> str:
        """What its first line says it needs before it runs: `# needs: a GPU`; empty if a fresh clone is enough."""
        match = re.match(r"# needs: (.+)", self.text)
        return match[1] if match else ""

    @property
    def commands(self) -> list[str]:
        """Its lines without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in lines) if line]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    all_of_it = [Block(page, text[: match.start()].count("\n") + 1, match[1], match[2]) for match in found]
    return [block for block in all_of_it if language in (None, block.language)]


def calls(command: str) -> list[list[str]]:
    """The arguments of every `sparsefuse` in a shell line: after `torchrun ... -m`, in a pipe, behind `&&`."""
    found = []
    for part in re.split(r"\s(?:&&|\|)\s", command):
        match = re.search(r"(?:^|\s)sparsefuse ([a-z].*)", part)
        if match:
            found.append(shlex.split(match[1]))
    return found


def run_python(block: Block, names: dict[str, object]) -> None:
    """Runs a Python block, with `names` from blocks before. `print(...)  # text` must print the text, unless what the
    block needs was replaced by something smaller."""
    printed: list[str] = []
    names["print"] = lambda *values: printed.append(" ".join(map(str, values)))
    exec(compile(block.text, str(block), "exec"), names)
    prints = [line for line in block.text.splitlines() if line.startswith("print(")]
    for line, got in zip(prints, printed, strict=True):
        said = line.partition("  # ")[2]
        assert block.needs or said in ("", got), f"{block}: {line} printed {got}"
