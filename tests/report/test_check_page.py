"""The page of `check` has pictures and problems, and needs nothing but itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tiny
from sparsefuse.cli.verbs.data import check as verb
from sparsefuse.config import Config, Data
from sparsefuse.data.check import Report, check
from sparsefuse.data.check.report import Histogram
from sparsefuse.data.check.rules import RULES
from sparsefuse.report.check_page import write_page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("set")
    manifest = tiny.write_set(folder)
    tiny.edit(manifest, train2={"rgb": "<b>gone</b>.npy"}, train3={"rgb": "features/test3-rgb.npy"})
    report = check(Data(manifest=str(manifest)), Path(), jobs=1)
    return write_page(report, folder / "page.html").read_text(encoding="utf-8")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br", "path", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "use"):
            assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_asks_for_no_other_file(page: str) -> None:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert "http" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S)


@pytest.mark.parametrize(
    ("manifest", "source", "title"),
    [
        ("films/manifest.csv", None, "films"),
        ("films/birds.csv", None, "birds.csv"),
        ("run/clips/manifest.csv", "films", "films"),
    ],
)
def test_the_title_is_what_the_user_gave(tmp_path: Path, manifest: str, source: str | None, title: str) -> None:
    """A folder's manifest is written by the program, which the user has never seen."""
    report = Report(str(tmp_path / manifest), 0)
    text = write_page(report, tmp_path / "page.html", source and tmp_path / source).read_text(encoding="utf-8")
    assert re.findall(r"<(?:title|h1)>(.*?):", text) == [title] * 2


def test_the_page_names_problems_and_escapes_them(page: str) -> None:
    assert "<b>gone" not in page
    assert "&lt;b&gt;gone&lt;/b&gt;.npy: file not found" in page
    assert page.count('<section id="missing">') == 1
    assert 'href="#leak-file"' in page


def test_the_page_says_what_is_wrong_and_not_what_should_hold(page: str) -> None:
    """A red error beside "Every file is there" reads as its opposite."""
    assert page.count("1 file is not there") == 2, "in the table, and above the list"
    assert "Every file is there" not in page
    assert RULES["unreadable"].found(2) == "2 files cannot be read"
    assert RULES["nonfinite"].found(1) == "1 file holds values that are not finite"
    assert RULES["nonfinite"].found(2) == "2 files hold values that are not finite"
    assert RULES["gaps"].found(3) == "3 modalities are missing from some rows"


def test_every_rule_can_be_told_of_one_finding_and_of_many() -> None:
    for rule in RULES.values():
        for n in (1, 12):
            assert not set("[]{}/") & set(rule.found(n))
            assert rule.found(n)[0].isupper() or rule.found(n)[0].isdigit() or rule.found(n)[0] == "`"


def test_the_page_draws_lengths_and_balance(page: str) -> None:
    figures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(figures) == 2
    assert all(name in figures[0] for name in ("rgb", "sound", "tokens"))
    assert all(name in figures[1] for name in ("train", "valid", "test", ">a<", ">b<", ">c<"))


def test_many_classes_are_a_curve(tmp_path: Path) -> None:
    report = Report("m.csv", 9, balance={"train": {f"class {i}": i for i in range(300)}})
    text = write_page(report, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "classes, the largest first" in text
    assert "class 7<" not in text


def test_a_clean_set_has_a_page_without_problems(tmp_path: Path) -> None:
    text = write_page(Report("m.csv", 9), tmp_path / "page.html").read_text(encoding="utf-8")
    assert "no problems" in text
    assert "<h2>Problems" not in text


def test_whole_numbers_have_whole_bins() -> None:
    """3 to 60 tokens are 58 values: 20 bins of 3, none of which holds another number of values."""
    histogram = Histogram.of(list(range(3, 61)))
    assert np.diff(histogram.edges).tolist() == [3.0] * 20
    assert histogram.counts == [3] * 19 + [1]
    assert Histogram.of([7, 7]).counts == [2]


def test_a_page_needs_the_name_of_a_page(tmp_path: Path) -> None:
    config = Config(data=Data(manifest=str(tiny.write_set(tmp_path))))
    with pytest.raises(ValueError, match=r"report is data\.pdf, expected a file name such as data\.html"):
        verb(config, report=Path("data.pdf"))


def test_the_page_says_what_each_column_is_taken_for(page: str) -> None:
    table = re.search(r"<h2>Columns</h2>.*?</section>", page, re.S)
    assert table
    assert re.findall(r'row">(\w+)</th><td>([^<]*)', table[0]) == [
        ("id", "id"),
        ("rgb", "features (.npy)"),
        ("sound", "features (.npy)"),
        ("label", "label"),
        ("split", "split"),
    ]
