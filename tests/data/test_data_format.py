"""docs/data-format.md is the contract: every rule in it is one that `check` reports, in the words of the page."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_sounds import write_channels, write_sound

from sparsefuse.config import Data, Split
from sparsefuse.data.check import check
from sparsefuse.data.check.rules import RULES
from sparsefuse.features._tables import table_readers
from sparsefuse.files.rows import write_table
from sparsefuse.media import write_clip

PAGE = Path(__file__).parents[2] / "docs" / "data-format.md"
Rows = list[dict[str, Any]]


def documented() -> dict[str, list[str]]:
    """Rule -> weight, what holds, message, fix, as the page's table has them."""
    lines = re.findall(r"^\| ([\w-]+) \| (error|warning|note) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: [weight, *rest.split(" | ")] for name, weight, rest in lines}


def features(num: int = 12) -> Rows:
    """Two modalities, two classes, all splits: no problems."""
    rng = np.random.default_rng(0)
    splits = ["train", "train", "train", "train", "valid", "valid", "test", "test"]
    return [
        {"id": f"s{i}", "a": rng.normal(size=(6, 3)), "b": rng.normal(size=(4, 2)), "label": "xy"[i % 2]}
        | {"split": splits[i % 8]}
        for i in range(num)
    ]


def film(
    path: Path, *, side: int = 32, frames: int = 6, level: int = 255, moving: bool = True, sound: float = 0.6
) -> str:
    """A bright square on black that moves from frame to frame, at 10 a second; `sound` in seconds."""
    pixels = np.zeros((frames, side, side, 3), np.uint8)
    for i in range(frames):
        left = 4 * i % (side - 8) if moving else 0
        pixels[i, 8:24, left : left + 8] = level
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(16000 * sound)).astype(np.float32)
    write_clip(path, pixels, fps=10, sound=noise if sound else None)
    return path.name


def moved(source: Path, when: Callable[[float], float]) -> str:
    """The film with the packets of its sound at other times."""
    target = source.with_name("moved.mp4")
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None and packet.pts is not None:
                if packet.stream.type == "audio":
                    by = when(float(packet.pts * packet.time_base)) / packet.time_base - packet.pts
                    packet.pts, packet.dts = packet.pts + round(by), packet.dts + round(by)
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return target.name


def sounds(folder: Path, num: int = 12) -> Rows:
    rows = [{key: row[key] for key in ("id", "label", "split")} for row in features(num)]
    return [{"audio": write_sound(folder / f"{row['id']}.wav", 0.5, seed=i), **row} for i, row in enumerate(rows)]


def films(folder: Path) -> Rows:
    """As `sounds`, with the picture of a file of its own; the files are one clip, made once and changed at its end."""
    one = (folder / film(folder / "one.mp4")).read_bytes()
    rows = [{key: row[key] for key in ("id", "label", "split")} for row in features(8)]
    for row in rows:
        row["video"] = f"{row['id']}.mp4"
        box = f"id {row['id']}".encode()  # a box of an mp4 that readers skip: other bytes, the same film
        (folder / row["video"]).write_bytes(one + (8 + len(box)).to_bytes(4, "big") + b"free" + box)
    return rows


def write(folder: Path, rows: Rows) -> None:
    """Arrays as files, then the manifest."""
    cells = []
    for row in rows:
        cells.append({})
        for name, value in row.items():
            if isinstance(value, np.ndarray):
                np.save(folder / f"{name}_{row['id']}.npy", value)
                value = f"{name}_{row['id']}.npy"
            cells[-1][name] = value
    write_table(folder / "manifest.csv", cells)


BROKEN: dict[str, Callable[[Path], Rows | None]] = {}
SPLIT = {"unusable": Split(by="group")}
OF_PIXELS = {"mismatch", "flat", "unit", "metres", "outside", "camera", "nowhere"}
"""rules that `data/pixels/test_pixel_check.py` or `data/points/test_point_check.py` breaks"""
RAW = {"wrist": {"extractor": "series", "source": "wrist", "time": "t"}}


def breaks(rule: str) -> Callable[[Callable[[Path], Rows | None]], None]:
    """The function makes a set that breaks this rule; it gives the rows, or None if it wrote the manifest itself."""

    def add(make: Callable[[Path], Rows | None]) -> None:
        BROKEN[rule] = make

    return add


def changed(rows: Rows, place: int, **cells: Any) -> Rows:
    rows[place] |= cells
    return rows


@breaks("manifest")
def _(folder: Path) -> None:
    (folder / "manifest.csv").write_text("id,a,label\ns1,a.npy,x,left over\n")


@breaks("id")
def _(folder: Path) -> Rows:
    return [*features(), {**features()[2], "a": "other.npy"}]


@breaks("unusable")
def _(folder: Path) -> Rows:
    return features()


@breaks("missing")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a="gone.npy")


@breaks("unreadable")
def _(folder: Path) -> Rows:
    (folder / "text.npy").write_text("no numbers")
    return changed(features(), 1, a="text.npy")


@breaks("nonfinite")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a=np.where(np.eye(6, 3) == 1, np.nan, 0))


@breaks("width")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a=np.ones((6, 4)))


@breaks("label")
def _(folder: Path) -> Rows:
    return changed(features(), 1, label="")


@breaks("dropped")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a="", b="")


@breaks("segment")
def _(folder: Path) -> Rows:
    return [row | {"start": "0.2", "end": "9" if row["id"] == "s3" else ""} for row in sounds(folder)]


@breaks("leak-file")
def _(folder: Path) -> Rows:
    return changed(features(), 4, a="a_s0.npy")


@breaks("leak-content")
def _(folder: Path) -> Rows:
    return changed(features(), 4, a=features()[0]["a"])


@breaks("leak-group")
def _(folder: Path) -> Rows:
    return [row | {"group": "g" + str(i % 3)} for i, row in enumerate(features())]


@breaks("one-group")
def _(folder: Path) -> Rows:
    return [row | {"group": "ann" if row["split"] == "valid" else row["id"]} for row in features()]


@breaks("group-apart")
def _(folder: Path) -> Rows:
    rows = [row | {"group": f"p{i // 8}"} for i, row in enumerate(features(48))]
    return [row | {"a": row["a"] + [0, 4, 0] if row["group"] == "p3" else row["a"]} for row in rows]


@breaks("duplicate")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a=features()[0]["a"])


@breaks("constant")
def _(folder: Path) -> Rows:
    return [row | {"a": row["a"] * [1, 0, 1]} for row in features()]


@breaks("length")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a=np.ones((12, 3)))


@breaks("rate")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a=np.arange(27.0).reshape(9, 3))


@breaks("streams")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=film(folder / "mute.mp4", sound=0))


@breaks("apart")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=film(folder / "long.mp4", sound=2))


@breaks("silent")
def _(folder: Path) -> Rows:
    return changed(sounds(folder), 1, audio=write_sound(folder / "silent.wav", 0.5, peak=0.0005))


@breaks("cancel")
def _(folder: Path) -> Rows:
    left = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
    path = folder / "cancels.wav"
    write_channels(path, np.stack([left, -0.9 * left]))  # their mean is 26 dB quieter
    return changed(sounds(folder), 1, audio=path.name)


@breaks("start")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=moved(folder / "one.mp4", lambda time: time + 0.3))


@breaks("holes")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=moved(folder / "one.mp4", lambda time: time + 0.1 * (time > 0.3)))


@breaks("black")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=film(folder / "black.mp4", level=6))


@breaks("frozen")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=film(folder / "frozen.mp4", moving=False))


@breaks("split")
def _(folder: Path) -> Rows:
    return [row | {"split": "train"} for row in features()]


@breaks("absent")
def _(folder: Path) -> Rows:
    return [row | {"label": "y" if row["split"] == "test" else row["label"]} for row in features()]


@breaks("uneven")
def _(folder: Path) -> Rows:
    return [row | {"label": "y" if row["id"] in ("s0", "s4", "s6") else "x"} for row in features(30)]


@breaks("alike")
def _(folder: Path) -> Rows:
    return [row | {"label": row["label"].upper() if i < 2 else row["label"]} for i, row in enumerate(features())]


@breaks("several")
def _(folder: Path) -> Rows:
    return [row | {"label": ["x", "y", "x,y"][i % 3]} for i, row in enumerate(features())]


@breaks("rising")
def _(folder: Path) -> Rows:
    rng = np.random.default_rng(1)
    return [
        row | {"a": np.column_stack([rng.normal(size=(12, 2)), np.cumsum(rng.uniform(size=12))])} for row in features()
    ]


@breaks("extreme")
def _(folder: Path) -> Rows:
    rows = features()
    rows[1]["a"][2, 1] = 1000
    return rows


@breaks("sentinel")
def _(folder: Path) -> Rows:
    rows = features()
    rows[1]["a"][2, 1] = -9999
    return rows


@breaks("saturated")
def _(folder: Path) -> Rows:
    rng = np.random.default_rng(1)
    return [row | {"a": np.clip(rng.normal(size=(60, 3)), -1, 1)} for row in features()]


def tables(folder: Path) -> Rows:
    """Readings at times, as a sensor writes them."""
    rng = np.random.default_rng(0)
    rows = [{key: row[key] for key in ("id", "label", "split")} for row in features()]
    for row in rows:
        row["wrist"] = f"{row['id']}.csv"
        lines = [f"{i / 50},{x},{y}" for i, (x, y) in enumerate(rng.normal(size=(20, 2)))]
        (folder / row["wrist"]).write_text("\n".join(["t,x,y", *lines]))
    return rows


@breaks("time")
def _(folder: Path) -> Rows:
    rows = tables(folder)
    (folder / "s1.csv").write_text("timestamp" + (folder / "s1.csv").read_text().removeprefix("t"))
    return [rows[1]] + [row for row in rows if row is not rows[1]]


@breaks("clock")
def _(folder: Path) -> Rows:
    rows = tables(folder)
    lines = (folder / "s1.csv").read_text().split("\n")
    (folder / "s1.csv").write_text("\n".join([*lines[:9], *lines[11:], *lines[9:11]]))
    return rows


@breaks("table")
def _(folder: Path) -> Rows:
    return [row | {"other": row["wrist"]} for row in tables(folder)]


@breaks("gaps")
def _(folder: Path) -> Rows:
    return changed(features(), 1, a="")


@breaks("sizes")
def _(folder: Path) -> Rows:
    return changed(films(folder), 1, video=film(folder / "large.mp4", side=48))


@breaks("media")
def _(folder: Path) -> Rows:
    return [row | {"audio": sound["audio"]} for row, sound in zip(features(), sounds(folder), strict=True)]


@breaks("remote")
def _(folder: Path) -> Rows:
    return changed(sounds(folder), 1, audio="s3://bucket/1.wav")


@breaks("skipped")
def _(folder: Path) -> Rows:
    (folder / "skipped.jsonl").write_text('{"id": "s77", "modality": "", "reason": "too short"}\n')
    return features()


def test_the_page_has_the_rules_of_the_code() -> None:
    page = documented()
    assert list(page) == list(RULES)
    for name, rule in RULES.items():
        weight, says, _, fix = page[name]
        assert (weight, says, fix) == (rule.severity, rule.says, rule.fix), name


def test_errors_come_first_then_warnings() -> None:
    weights = [rule.severity for rule in RULES.values()]
    assert weights == sorted(weights, key=["error", "warning", "note"].index)


@pytest.mark.parametrize(
    "make", [lambda folder: features(), sounds, films, tables], ids=["features", "sounds", "films", "tables"]
)
def test_a_set_that_keeps_the_rules_has_no_findings(tmp_path: Path, make: Callable[[Path], Rows]) -> None:
    write(tmp_path, make(tmp_path))
    assert check(Data(manifest="manifest.csv"), tmp_path, jobs=1, tables=table_readers(RAW)).problems == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", [rule for rule in documented() if rule not in OF_PIXELS])
def test_a_set_that_breaks_a_rule_of_the_page_is_reported_in_its_words(tmp_path: Path, rule: str) -> None:
    rows = BROKEN[rule](tmp_path)
    if rows is not None:
        write(tmp_path, rows)
    raw = table_readers(RAW if rule in ("clock", "table") else {})
    report = check(Data(manifest="manifest.csv", split=SPLIT.get(rule, Split())), tmp_path, jobs=1, tables=raw)
    found = [problem for problem in report.problems if problem.kind == rule]
    assert found, report.problems
    pattern = ".+".join(map(re.escape, documented()[rule][2].strip("`").split("…")))
    assert all(re.fullmatch(pattern, problem.message) for problem in found), (pattern, found)
    assert {problem.severity for problem in found} == {documented()[rule][0]}
