"""`sparsefuse predict` of a run on clouds: scenes in; a file of boxes and a picture each out."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.config import Config
from sparsefuse.data.points.read import read_cameras
from sparsefuse.files.names import file_name
from sparsefuse.files.skipped import Skip, Unusable, write_skipped
from sparsefuse.files.whole import replacing
from sparsefuse.inference.points.detections import LEAST, Detections
from sparsefuse.inference.points.inputs import Named, named_scenes
from sparsefuse.inference.points.predictor import PointPredictor, load_points, root_of
from sparsefuse.media.fetch import check_allowed
from sparsefuse.report.points.drawn import SURE
from sparsefuse.runs.folder import SKIPPED, RunFolder
from sparsefuse.shown import shown

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """What became of one scene."""

    name: str
    file: Path | None
    """its boxes; the picture is beside it"""
    result: Detections | Unusable


def show_boxes(
    run: Path,
    files: Sequence[Path],
    *,
    out: Path | None = None,
    top: int,
    as_json: bool,
    device: str = "cpu",
    roots: Sequence[Path] | None = None,
) -> int:
    """Prints a line per scene, and writes NAME.json and NAME.png to `out`, <run>/predicted by default; returns how many
    scenes could not be read. These are in skipped.jsonl there, too.

    `roots` as in `inference.clips.show`. Raises FileNotFoundError and ValueError for files that are no scenes.
    """
    if top < 1:
        raise ValueError(f"--top is {top}; expected 1 or more")
    predictor, skips = load_points(run, device=device), []
    out = out or run / "predicted"
    for written in write_boxes(predictor, run, files, out, roots):
        if isinstance(written.result, Unusable):
            skips.append(Skip(written.name, "", str(written.result), written.result.trace))
        print(_json(written) if as_json else _text(written, top), flush=True)
    write_skipped(out / SKIPPED, skips)
    return len(skips)


def write_boxes(
    predictor: PointPredictor, run: Path, files: Sequence[Path], out: Path, roots: Sequence[Path] | None = None
) -> Iterator[Written]:
    """Writes boxes and picture of each scene as they are found."""
    taken = set[str]()
    for named in named_scenes(files, RunFolder(run).read(Config).points):
        file = out / f"{file_name(named.name, taken)}.json"
        if isinstance(named.scene, Unusable):
            yield Written(named.name, None, named.scene)
        elif why := _forbidden(named, roots):
            yield Written(named.name, None, why)
        else:
            (result,) = predictor.results([named.scene])
            if isinstance(result, Unusable):
                yield Written(named.name, None, result)
                continue
            with replacing(file.with_suffix(".png"), durable=False) as temporary:
                temporary.write_bytes(result.png())
            with replacing(file, durable=False) as temporary:
                temporary.write_text(json.dumps(result.found(LEAST)) + "\n", encoding="utf-8")
            yield Written(named.name, file, result)


def _forbidden(named: Named, roots: Sequence[Path] | None) -> Unusable | None:
    """Why a file that a table, or a file of cameras, names must not be read, with --offline."""
    if roots is None or isinstance(named.scene, Unusable):
        return None
    parts, below = named.scene, [str(root) for root in (named.named_in, *roots) if root is not None]
    try:
        if named.named_in is not None:
            own = [Path(parts[part]) for part in ("cloud", "cameras", "root") if parts.get(part)]
            for path in (*own, *(Path(parts.get("root", "")) / picture for picture in parts.get("rgb", []))):
                check_allowed(str(path), below)
        if pictures := _pictures_in(parts):
            root = Path(parts["root"]) if parts.get("root") else root_of(Path(parts["cameras"]))
            for picture in pictures:  # who calls names the folder, too
                check_allowed(str(root / picture), below if named.named_in is not None else [*below, str(root)])
    except Unusable as error:
        return error
    return None


def _pictures_in(parts: Mapping[str, Any]) -> list[str]:
    """Those that a file of cameras names, where no others take their place; none of one that cannot be read."""
    if parts.get("rgb") is not None or not parts.get("cameras"):
        return []
    try:
        return [camera.picture for camera in read_cameras(str(parts["cameras"]), Path())]
    except Unusable:
        return []


def _text(written: Written, top: int) -> str:
    result, name = written.result, shown(written.name)
    if isinstance(result, Unusable):
        return f"{name}: cannot be read: {result}"
    found = result.found(SURE)
    boxes = "".join(f"  {shown(box['class'])} {box['score']:.2f}" for box in found[:top])
    more = f"  and {len(found) - top} more" if len(found) > top else ""
    lines = [f"{name}: {written.file}{boxes or f'  no box of score {SURE:g} or more'}{more}"]
    return "\n".join(lines + [f"  without a picture: {why}" for why in result.missing])


def _json(written: Written) -> str:
    if isinstance(written.result, Unusable):
        return json.dumps({"scene": written.name, "error": str(written.result)})
    return json.dumps({"scene": written.name, "file": str(written.file), **written.result.to_json()})
