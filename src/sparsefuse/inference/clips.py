"""`sparsefuse predict`: a run folder and clips in, labels on the screen out."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparsefuse.data.labels import Labels
from sparsefuse.files.rows import SUFFIXES, check_ids, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Clip, Prediction, Predictor, load
from sparsefuse.inference.timeline import Timeline, check_windows, timeline

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)

Answer = Prediction | Timeline | Unusable
"""What is said of a clip; of one that cannot be read, why."""


class Windows(NamedTuple):
    """How a long recording is cut, in seconds."""

    window: float
    hop: float


def show(
    run: Path, files: Sequence[Path], *, top: int, as_json: bool, trust_code: bool, windows: Windows | None = None
) -> int:
    """Prints one prediction per clip, or its timeline; returns how many clips could not be read.

    As lines, each as it is made; as tables where a person looks on and all clips are known at the start.
    """
    if top < 1:
        raise ValueError(f"--top is {top}; expected 1 or more")
    if windows:
        check_windows(*windows)
    predictor = load(run, trust_code=trust_code)
    if predictor.calibration is None and predictor.labels.task != "regression":
        log.warning("%s has no calibration.json: probabilities are as trained, not calibrated", run)
    answers = _answers(predictor, files, windows)
    if not as_json and Path("-") not in files and sys.stdout.isatty():
        return _show_tables(answers, top, predictor.labels)
    unusable = 0
    for name, said in answers:
        unusable += isinstance(said, Unusable)
        text = _json(name, said) if as_json else _text(name, said, top, predictor.labels)
        print(text, flush=True)  # whoever reads a pipe waits for it
    return unusable


def _answers(predictor: Predictor, files: Sequence[Path], windows: Windows | None) -> Iterator[tuple[str, Answer]]:
    """(name, what is said of it) of every clip, as it is made."""
    for name, clip in named_clips(files, predictor.columns):
        try:
            if isinstance(clip, Unusable):  # a line of standard input that is no clip
                yield name, clip
            elif windows:
                yield name, timeline(predictor, clip, window=windows.window, hop=windows.hop)
            else:
                yield name, predictor.predict_one(clip)
        except Unusable as error:
            yield name, error


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


def _text(name: str, said: Answer, top: int, labels: Labels) -> str:
    """The answer as plain lines: of a prediction one, of a timeline one a segment."""
    if isinstance(said, Unusable):
        return f"{name}: cannot be read: {said}"
    if isinstance(said, Timeline):
        lines = [f"{name}: {_length(said)}"]
        for part in said.segments:
            share = "" if part.probability is None else f"  {part.probability:.3f}"
            lines.append(f"  {part.start:8.2f} - {part.end:8.2f} s  {part.label or 'none'}{share}")
    else:
        shares = (f"  {label} {share:.3f}" for head in _likeliest(said, top, labels).values() for label, share in head)
        lines = [f"{name}: {said.label or 'none'}{''.join(shares)}"]
    return "\n".join(lines + [f"  {note}" for note in _notes(said)])


def _show_tables(answers: Iterable[tuple[str, Answer]], top: int, labels: Labels) -> int:
    """Prints timelines as tables of their own, predictions as one; returns how many clips could not be read."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console, found = Console(), []
    with console.status("reading clips") as status:
        for name, said in answers:
            if isinstance(said, Timeline):
                console.print(_segments(name, said))
            else:
                found.append((name, said))
            status.update(escape(name))
    heads = [head or "likeliest" for head in labels.groups] if labels.classes else []
    table = Table(Column("clip", overflow="fold"), "label" if labels.classes else "value", *heads)
    for name, said in found:
        if isinstance(said, Unusable):
            cells = ["-"]
        else:
            shares = _likeliest(said, top, labels).values() if labels.classes else ()
            cells = [said.label or "none", *(", ".join(f"{label} {share:.3f}" for label, share in h) for h in shares)]
        table.add_row(*map(escape, [name, *cells]))
    if found:
        console.print(table)
    for name, said in found:  # below: they are as long as paths are
        for note in [f"cannot be read: {said}"] if isinstance(said, Unusable) else _notes(said):
            console.print(f"{name}: {note}", markup=False, highlight=False, soft_wrap=True)
    return sum(isinstance(said, Unusable) for _, said in found)


def _segments(name: str, said: Timeline) -> "Table":
    """A recording's segments."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"{name}: {_length(said)}"), title_justify="left", caption=escape("\n".join(_notes(said)))
    )
    for title in ("from, s", "to, s", "label", "probability"):
        table.add_column(title, justify="left" if title == "label" else "right")
    for part in said.segments:
        share = "" if part.probability is None else f"{part.probability:.3f}"
        table.add_row(f"{part.start:.2f}", f"{part.end:.2f}", escape(part.label or "none"), share)
    return table


def _likeliest(said: Prediction, top: int, labels: Labels) -> dict[str, list[tuple[str, float]]]:
    """head -> its `top` likeliest classes with their probabilities; the one head is '' if there are none."""
    found = {}
    for head, span in labels.groups.items():
        names = sorted((labels.classes[i] for i in span), key=lambda label: -said.probabilities[label])[:top]
        found[head] = [(name, said.probabilities[name]) for name in names]
    return found


def _length(said: Timeline) -> str:
    return f"{said.seconds:.1f} s, {len(said.moments)} windows"


def _notes(said: Prediction | Timeline) -> list[str]:
    return [f"without {modality}: {why}" for modality, why in said.missing.items()]


def _json(name: str, said: Answer) -> str:
    if isinstance(said, Unusable):
        return json.dumps({"clip": name, "error": str(said)}, ensure_ascii=False)
    values = said.to_json() if isinstance(said, Timeline) else said._asdict()
    return json.dumps({"clip": name, **values}, ensure_ascii=False)
