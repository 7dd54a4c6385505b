"""`sparsefuse predict` of a run on pictures: scenes in; a label picture or a picture each, and a legend, out."""

import contextlib
import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.files.names import file_name
from sparsefuse.files.references import split_ref
from sparsefuse.files.skipped import Skip, Unusable, write_skipped
from sparsefuse.files.whole import replacing, write_text
from sparsefuse.inference.pixels.inputs import Named, named_scenes
from sparsefuse.inference.pixels.prediction import PixelPrediction
from sparsefuse.inference.pixels.predictor import CHUNK, PixelPredictor, load_pixels
from sparsefuse.media.fetch import check_allowed
from sparsefuse.media.png import has_note, noted
from sparsefuse.report.pixels.palette import hexadecimal, palette
from sparsefuse.runs.folder import SKIPPED, RunFolder
from sparsefuse.shown import shown

log = logging.getLogger(__name__)

LEGEND = "classes.csv"


State = tuple[int, int] | None
"""of a file: its size and when it was written"""


class Written(NamedTuple):
    """What became of one scene."""

    name: str
    file: Path | None
    result: PixelPrediction | Unusable | None
    """None if the file was there already"""


def show_pixels(
    run: Path,
    files: Sequence[Path],
    *,
    out: Path | None = None,
    top: int,
    as_json: bool,
    device: str = "cpu",
    roots: Sequence[Path] | None = None,
) -> int:
    """Prints a line per scene, and writes its PNG to `out`, <run>/predicted by default; returns how many scenes could
    not be read. These are in skipped.jsonl there, too. A PNG that was made of the same weights and pictures stays.

    `roots` as in `inference.clips.show`. Raises FileNotFoundError and ValueError for files that are no scenes.
    """
    if top < 1:
        raise ValueError(f"--top is {top}; expected 1 or more")
    predictor = load_pixels(run, device=device)
    out = out or run / "predicted"
    if predictor.facts.classes:
        write_text(out / LEGEND, _legend(predictor))
    skips = []
    for written in write_scenes(predictor, run, files, out, roots):
        if isinstance(written.result, Unusable):
            skips.append(Skip(written.name, "", str(written.result), written.result.trace))
        print(_json(written) if as_json else _text(written, top), flush=True)
    write_skipped(out / SKIPPED, skips)
    return len(skips)


def write_scenes(
    predictor: PixelPredictor, run: Path, files: Sequence[Path], out: Path, roots: Sequence[Path] | None = None
) -> Iterator[Written]:
    """Writes a PNG per scene as it is computed."""
    weights, taken = _state(RunFolder(run).weights), set[str]()
    chunk: list[tuple[Named, Path]] = []
    for scene in named_scenes(files, predictor):
        file = out / f"{file_name(scene.name, taken)}.png"
        chunk.append((scene, file))
        if len(chunk) == CHUNK:
            yield from _write(predictor, chunk, weights, roots)
            chunk = []
    yield from _write(predictor, chunk, weights, roots)


def _write(
    predictor: PixelPredictor, chunk: Sequence[tuple[Named, Path]], weights: State, roots: Sequence[Path] | None
) -> Iterator[Written]:
    """Those of one chunk, in their order."""
    refused: dict[int, Unusable] = {}
    wanted, notes = [], dict[int, str]()
    for i, (scene, file) in enumerate(chunk):
        if isinstance(scene.pictures, Unusable):
            refused[i] = scene.pictures
        elif why := _forbidden(scene, roots):
            refused[i] = why
        elif unknown := [name for name in scene.pictures if name not in predictor.model.streams]:
            names = " or ".join(map(shown, unknown))
            refused[i] = Unusable(f"no stream is called {names}; expected {', '.join(predictor.streams)}")
        else:
            notes[i] = _note(scene.pictures, weights)  # before they are read
            if not (file.is_file() and has_note(file, notes[i])):
                wanted.append(i)
    results = dict(zip(wanted, predictor.results(chunk[i][0].pictures for i in wanted), strict=True))
    for i, (scene, file) in enumerate(chunk):
        result = refused.get(i) or results.get(i)
        if isinstance(result, PixelPrediction):
            with replacing(file, durable=False) as temporary:
                temporary.write_bytes(noted(result.png(), notes[i]))
        yield Written(scene.name, None if isinstance(result, Unusable) else file, result)


def _forbidden(scene: Named, roots: Sequence[Path] | None) -> Unusable | None:
    """Why a picture that a table names must not be read, with --offline."""
    if roots is None or scene.named_in is None or isinstance(scene.pictures, Unusable):
        return None
    reasons = []
    for path in scene.pictures.values():
        try:
            check_allowed(str(path), [str(root) for root in (scene.named_in, *roots)])
        except Unusable as error:
            reasons.append(str(error))
    return Unusable("; ".join(reasons)) if reasons else None


def _note(pictures: Mapping[str, Path], weights: State) -> str:
    """What a prediction is made of, as its file notes it: another scene of the same name has another note."""
    of = [(stream, str(path.absolute()), _state(path)) for stream, path in sorted(pictures.items())]
    return f"made of {hashlib.sha256(json.dumps([weights, of]).encode()).hexdigest()}"


def _state(path: Path) -> State:
    """The size and time of a file, also of one named with a key in it; None if there is none."""
    for file in (path, Path(split_ref(str(path))[0])):
        with contextlib.suppress(OSError, ValueError):  # no such file, or a name that none can have
            return file.stat().st_size, file.stat().st_mtime_ns
    return None


def _legend(predictor: PixelPredictor) -> str:
    """number, name, color."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["number", "name", "color"])
    classes = predictor.facts.classes
    lines.writerows(
        [i, name, hexadecimal(color)]
        for i, (name, color) in enumerate(zip(classes, palette(len(classes)), strict=True))
    )
    return text.getvalue()


def _text(written: Written, top: int) -> str:
    result, name = written.result, shown(written.name)
    if isinstance(result, Unusable):
        return f"{name}: cannot be read: {result}"
    if result is None:
        return f"{name}: {written.file}  (already there)"
    shares = "".join(f"  {shown(label)} {100 * share:.1f} %" for label, share in list(result.shares.items())[:top])
    lines = [f"{name}: {written.file}{shares}"]
    return "\n".join(lines + [f"  without {stream}: {why}" for stream, why in result.missing.items()])


def _json(written: Written) -> str:
    result = written.result
    if isinstance(result, Unusable):
        return json.dumps({"scene": written.name, "error": str(result)})
    facts = {} if result is None else result.to_json()
    return json.dumps({"scene": written.name, "file": str(written.file), **facts})
