"""`sparsefuse predict`: prints the predictions of a run for clips."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sparsefuse.data.labels import Labels
from sparsefuse.files.names import file_name
from sparsefuse.files.skipped import Unusable
from sparsefuse.files.whole import replacing
from sparsefuse.inference.inputs import kinds_expected, named
from sparsefuse.inference.predictor import Clip, Prediction, Predictor, check_extractors, load
from sparsefuse.inference.timeline import Timeline, check_windows, timeline
from sparsefuse.media.fetch import check_allowed
from sparsefuse.shown import counted

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)

ClipResult = Prediction | Timeline | Unusable
"""The result for a clip: a prediction or a timeline, or why it cannot be read."""


class Windows(NamedTuple):
    """How a long recording is cut, in seconds."""

    window: float
    hop: float


def show(
    run: Path,
    files: Sequence[Path],
    *,
    top: int,
    as_json: bool,
    device: str = "cpu",
    trust_code: bool,
    windows: Windows | None = None,
    roots: Sequence[Path] | None = None,
    out: Path | None = None,
) -> int:
    """Prints one prediction per clip, or its timeline; returns how many clips could not be read. Into `out` it writes
    the features that the model read, as extracted: a .npy (N, F) float32 per clip and modality.

    With `roots`, what a manifest, a line or an extractor of the run names is only read if it lies in one of these
    folders, the manifest's (of a line, the current one) or the run's.

    As lines, each as it is computed; as tables on a terminal if all clips are known at the start.
    """
    if top < 1:
        raise ValueError(f"--top is {top}; expected 1 or more")
    if windows:
        check_windows(*windows)
    predictor = load(run, device=device, trust_code=trust_code, cuda_graphs="auto")
    if predictor.calibration is None and predictor.labels.task != "regression":
        log.warning("%s has no calibration.json: probabilities are as trained, not calibrated", run)
    check_extractors(run, predictor.extract, None if roots is None else [*map(str, roots)])
    results = _results(predictor, files, windows, roots, out)
    if not as_json and Path("-") not in files and sys.stdout.isatty():
        return _show_tables(results, top, predictor.labels)
    unusable = 0
    for name, result in results:
        unusable += isinstance(result, Unusable)
        text = _json(name, result) if as_json else text_of(name, result, top, predictor.labels)
        print(text, flush=True)  # the reader of a pipe waits for it
    return unusable


def _results(
    predictor: Predictor,
    files: Sequence[Path],
    windows: Windows | None,
    roots: Sequence[Path] | None,
    out: Path | None,
) -> Iterator[tuple[str, ClipResult]]:
    """(name, result) of every clip, as it is computed."""
    taken = set[str]()
    for name, clip, named_in in named(files, predictor):
        try:
            if roots is not None and named_in is not None and not isinstance(clip, Unusable):
                for path in clip.values() if isinstance(clip, Mapping) else [clip]:
                    if isinstance(path, Path) or Path(str(path)).exists():  # else a text
                        check_allowed(str(path), [str(root) for root in (named_in, *roots)])
            if isinstance(clip, Unusable):  # an invalid line of standard input
                yield name, clip
            elif windows:
                yield name, timeline(predictor, clip, window=windows.window, hop=windows.hop)
            else:
                result = predictor.predict_one(clip)
                if out is not None:
                    there = predictor.model.features.keys() - result.missing.keys()
                    write_features(predictor, clip, there, out, file_name(str(Path(name).with_suffix("")), taken))
                yield name, result
        except Unusable as error:
            yield name, Unusable(f"{error}{kinds_expected(clip, predictor)}")


def write_features(predictor: Predictor, clip: Clip, modalities: Iterable[str], out: Path, name: str) -> None:
    """Writes `<name>-<modality>.npy`, what an exported file takes, of the modalities that the clip has."""
    out.mkdir(parents=True, exist_ok=True)
    for modality in modalities:
        x = predictor.read(modality, clip).numpy().astype(np.float32)
        with replacing(out / f"{name}-{file_name(modality, set())}.npy") as file, file.open("wb") as stream:
            np.save(stream, x)


def text_of(name: str, result: ClipResult, top: int, labels: Labels) -> str:
    """The answer as plain lines: of a prediction one, of a timeline one a segment."""
    if isinstance(result, Unusable):
        return f"{name}: cannot be read: {result}"
    if isinstance(result, Timeline):
        lines = [f"{name}: {_length(result)}"]
        for part in result.segments:
            share = "" if part.probability is None else f"  {part.probability:.3f}"
            lines.append(f"  {part.start:8.2f} - {part.end:8.2f} s  {part.label or 'none'}{share}")
    else:
        likeliest = [pair for head in _likeliest(result, top, labels).values() for pair in head]
        shares = ", ".join(f"{label} {share:.3f}" for label, share in likeliest)
        if labels.task == "class":  # the answer itself stands first
            lines = [f"{name}: {shares}"]
        else:
            lines = [f"{name}: {result.label or 'none'}{shares and f' ({shares})'}"]
    return "\n".join(lines + [f"  {note}" for note in _notes(result)])


def _show_tables(results: Iterable[tuple[str, ClipResult]], top: int, labels: Labels) -> int:
    """Prints timelines as tables of their own, predictions as one; returns how many clips could not be read."""
    from rich.markup import escape
    from rich.table import Column, Table

    from sparsefuse.screen import table_console

    console, rows = table_console(), []
    with console.status("reading clips") as status:
        for name, result in results:
            if isinstance(result, Timeline):
                console.print(_segments(name, result))
            else:
                rows.append((name, result))
            status.update(escape(name))
    heads = [head or "likeliest" for head in labels.groups] if labels.classes else []
    table = Table(Column("clip", overflow="fold"), "label" if labels.classes else "value", *heads)
    for name, result in rows:
        if isinstance(result, Unusable):
            cells = ["-"]
        else:
            shares = _likeliest(result, top, labels).values() if labels.classes else ()
            texts = (", ".join(f"{label} {share:.3f}" for label, share in head) for head in shares)
            cells = [result.label or "none", *texts]
        table.add_row(*map(escape, [name, *cells]))
    if rows:
        console.print(table)
    for name, result in rows:  # below: they are as long as paths are
        for note in [f"cannot be read: {result}"] if isinstance(result, Unusable) else _notes(result):
            console.print(f"{name}: {note}", markup=False, highlight=False, soft_wrap=True)
    return sum(isinstance(result, Unusable) for _, result in rows)


def _segments(name: str, result: Timeline) -> "Table":
    """A recording's segments."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"{name}: {_length(result)}"), title_justify="left", caption=escape("\n".join(_notes(result)))
    )
    for title in ("from, s", "to, s", "label", "probability"):
        table.add_column(title, justify="left" if title == "label" else "right")
    for part in result.segments:
        share = "" if part.probability is None else f"{part.probability:.3f}"
        table.add_row(f"{part.start:.2f}", f"{part.end:.2f}", escape(part.label or "none"), share)
    return table


def _likeliest(result: Prediction, top: int, labels: Labels) -> dict[str, list[tuple[str, float]]]:
    """head -> its `top` likeliest classes with their probabilities; the one head is '' if there are none."""
    by_head = {}
    for head, span in labels.groups.items():
        names = sorted((labels.classes[i] for i in span), key=lambda label: -result.probabilities[label])[:top]
        by_head[head] = [(name, result.probabilities[name]) for name in names]
    return by_head


def _length(result: Timeline) -> str:
    return f"{result.seconds:.1f} s, {counted(len(result.moments), 'window')}"


def _notes(result: Prediction | Timeline) -> list[str]:
    return [f"without {modality}: {why}" for modality, why in result.missing.items()]


def _json(name: str, result: ClipResult) -> str:
    if isinstance(result, Unusable):
        return json.dumps({"clip": name, "error": str(result)}, ensure_ascii=_ascii())
    return json.dumps({"clip": name, **result.to_json()}, ensure_ascii=_ascii())


def _ascii() -> bool:
    """Whether the output cannot hold every character."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
