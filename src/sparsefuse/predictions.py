"""`sparsefuse predict`: a run folder and clips in, labels on the screen out."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.data.labels import Labels
from sparsefuse.predict import Clip, Prediction, load
from sparsefuse.skipped import Unusable
from sparsefuse.table import SUFFIXES, check_ids, read_table
from sparsefuse.timeline import Timeline, check_windows, timeline

log = logging.getLogger(__name__)


class Windows(NamedTuple):
    """How a long recording is cut, in seconds."""

    window: float
    hop: float


def show(
    run: Path, files: Sequence[Path], *, top: int, as_json: bool, trust_code: bool, windows: Windows | None = None
) -> int:
    """Prints one prediction per clip as it is made, or its timeline; returns how many clips could not be read."""
    if top < 1:
        raise ValueError(f"--top is {top}; expected 1 or more")
    if windows:
        check_windows(*windows)
    predictor = load(run, trust_code=trust_code)
    if predictor.calibration is None and predictor.labels.task != "regression":
        log.warning("%s has no calibration.json: probabilities are as trained, not calibrated", run)
    unusable = 0
    for name, clip in named_clips(files, predictor.columns):
        try:
            if isinstance(clip, Unusable):  # a line of standard input that is no clip
                raise clip
            if windows:
                found = timeline(predictor, clip, window=windows.window, hop=windows.hop)
                text = _json(name, found.to_json()) if as_json else _timeline(name, found)
            else:
                said = predictor.predict_one(clip)
                text = _json(name, said._asdict()) if as_json else _line(name, said, top, predictor.labels)
        except Unusable as error:
            unusable += 1
            text = _json(name, {"error": str(error)}) if as_json else f"{name}: cannot be read: {error}"
        print(text, flush=True)  # whoever reads a pipe waits for it
    return unusable


def named_clips(files: Sequence[Path], known: list[str]) -> Iterator[tuple[str, Clip | Unusable]]:
    """(name, clip) of every file; a manifest stands for its rows, of which the `known` columns are read; - for the
    lines of standard input."""
    for path in files:
        if str(path) == "-":
            yield from _lines(known)
        elif path.suffix.lower() in SUFFIXES:
            yield from _rows(path, known)
        else:
            yield str(path), path


def _rows(path: Path, known: list[str]) -> Iterator[tuple[str, Clip]]:
    table = read_table(path)
    check_ids(path, table)
    columns = [name for name in known if name in table.columns]
    if not columns:
        raise ValueError(
            f"{path}: no column is one of {', '.join(known)}, which the model reads; columns: "
            f"{', '.join(table.columns)}; rename one"
        )
    for row in table.rows:
        yield row["id"], {name: path.parent / row[name] for name in columns if row[name]}


def _lines(known: list[str]) -> Iterator[tuple[str, Clip | Unusable]]:
    """A clip per line of standard input: the path of a media file, or {modality: path} as JSON, with an `id` if it has
    one. A line that is neither costs itself alone."""
    for number, line in enumerate(sys.stdin, 1):
        text = line.strip()
        if not text:
            continue
        if not text.startswith("{"):
            yield text, Path(text)
            continue
        name = f"line {number}"
        try:
            given = json.loads(text)
        except ValueError as error:
            yield name, Unusable(f"no JSON ({error}): {text[:80]}")
            continue
        name = str(given.pop("id", name))
        wrong = [key for key, value in given.items() if key not in known or not isinstance(value, str)]
        if wrong:
            yield name, Unusable(f"expected the paths of {', '.join(known)}; got {wrong[0]!r}: {given[wrong[0]]!r}")
        else:
            yield name, {key: Path(value) for key, value in given.items()}


def _line(name: str, found: Prediction, top: int, labels: Labels) -> str:
    """The answer, and the `top` likeliest classes of each head."""
    text = f"{name}: {found.label or 'none'}"
    for span in labels.groups.values():
        likeliest = sorted((labels.classes[i] for i in span), key=lambda label: -found.probabilities[label])[:top]
        text += "".join(f"  {label} {found.probabilities[label]:.3f}" for label in likeliest)
    return text + "".join(f"\n  without {modality}: {why}" for modality, why in found.missing.items())


def _timeline(name: str, found: Timeline) -> str:
    """A line per segment."""
    lines = [f"{name}: {found.seconds:.1f} s, {len(found.moments)} windows"]
    for part in found.segments:
        share = "" if part.probability is None else f"  {part.probability:.3f}"
        lines.append(f"  {part.start:8.2f} - {part.end:8.2f} s  {part.label or 'none'}{share}")
    return "\n".join(lines + [f"  without {modality}: {why}" for modality, why in found.missing.items()])


def _json(name: str, said: dict[str, Any]) -> str:
    return json.dumps({"clip": name, **said}, ensure_ascii=False)
