"""Every link of every page leads somewhere, and every figure is what its script draws."""

import re
import runpy
from pathlib import Path

import pytest

from pages import PAGES, ROOT


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda code: "x" * len(code[0]), text)


def links(page: Path) -> list[str]:
    """What a page links to in this repository, figures too."""
    text = prose(page)
    found = re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The names that headings get: lower case, spaces become hyphens, other signs go."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Links of a page without a target."""
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A head, here\n[a](#a-head-here) [b](#b) [c](gone.md) [d](page.md#a-head-here) [e](https://x.y)\n"
    )
    assert broken(page) == ["#b", "gone.md"]


def test_every_page_of_the_docs_is_linked_from_the_readme_or_a_page_it_links():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        linked = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        todo += [path for path in linked if path.suffix == ".md" and path not in seen]
    assert set((ROOT / "docs").rglob("*.md")) <= seen


def test_figures_are_what_the_script_draws(monkeypatch):
    drawn = {}
    monkeypatch.setattr(Path, "write_text", lambda path, text, **_: drawn.update({path.name: text}))
    runpy.run_path(str(ROOT / "docs" / "images" / "draw.py"))["main"]()
    monkeypatch.undo()
    assert drawn == {path.name: path.read_text() for path in (ROOT / "docs" / "images").glob("*.svg")}
    assert len(drawn) == 10
