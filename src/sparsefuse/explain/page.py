"""`sparsefuse explain`: a run folder and a clip in, one HTML page that opens from disk, or a picture, out."""

import difflib
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sparsefuse.config import Config
from sparsefuse.data.manifest import JOIN
from sparsefuse.errors import near_file
from sparsefuse.explain.explanation import Explanation, explain
from sparsefuse.explain.footage import Footage, footage, placed
from sparsefuse.explain.pictures import draw
from sparsefuse.files.allowed import check_named
from sparsefuse.files.references import split_ref
from sparsefuse.files.rows import SUFFIXES, numbered, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.files.whole import write_text
from sparsefuse.inference.inputs import is_readings, named_clips
from sparsefuse.inference.predictor import Clip, Predictor, load
from sparsefuse.report import charts
from sparsefuse.report.page import render
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.shown import counted

MOST_CLASSES = 8


class ExplainedClip(NamedTuple):
    """One clip, explained and ready to be shown."""

    name: str
    method: str
    explanation: Explanation
    footage: Footage
    truth: str = ""
    """the label that the manifest states; empty if it is not known"""

    def sentence(self) -> str:
        """What mattered; places are in seconds of the clip where its length is known."""
        return self.explanation.sentence(self.footage.seconds)


def explain_clip(
    run: Path,
    clip: Path | None,
    *,
    manifest: Path | None = None,
    id: str | None = None,
    device: str = "cpu",
    trust_code: bool = False,
) -> ExplainedClip:
    """Explains a media file, or the clip of a manifest that has the id. Raises ValueError for none or both,
    FileNotFoundError for a file that is not there."""
    if (clip is None) == (manifest is None) or (manifest is None) != (id is None):
        raise ValueError("give either a media file, or --manifest FILE and --id ID")
    if clip is not None and not (clip.exists() or Path(split_ref(str(clip))[0]).exists()):
        raise FileNotFoundError(f"{clip}: there is no such file{near_file(clip)}")
    predictor = load(run, device=device, trust_code=trust_code)
    if manifest is not None and id is not None:
        name, chosen = id, _of_manifest(manifest, id, predictor)
    else:
        assert clip is not None
        if clip.suffix.lower() in SUFFIXES and not is_readings(clip, predictor):
            raise ValueError(f"{clip} is a table, not a media file; name one of its clips: --manifest {clip} --id ID")
        name, chosen = clip.name, clip
    explanation = explain(predictor, chosen)
    seen = footage(predictor, chosen, list(explanation.rollout))
    return ExplainedClip(
        name,
        RunFolder(run).read(ModelFacts).name,
        placed(explanation, seen),
        seen,
        "" if manifest is None else _truth(manifest, name, RunFolder(run).read(Config).data.label),
    )


def page_name(explained: ExplainedClip) -> str:
    """A safe file name for the page of a clip."""
    return re.sub(r"[^\w.-]+", "_", explained.name).lstrip(".") + ".html"


def write_page(explained: ExplainedClip, out: Path) -> Path:
    """Writes the page."""
    name, method, explanation, film, truth = explained
    ranked = sorted(explanation.prediction.probabilities.items(), key=lambda item: -item[1])
    figure = charts.svg(partial(draw, explanation, film), salt="explain")
    write_text(
        out,
        render(
            "explain/page.html.j2",
            name=name,
            method=method,
            explanation=explanation,
            truth=truth,
            mattered=explained.sentence(),
            ranked=ranked[:MOST_CLASSES],
            answer=explanation.answer,
            figure=figure,
            windows=max(len(part) for part in explanation.occlusion.windows.values()),
            frames=len(film.frames) > 0,
        ),
    )
    return out


def write_picture(explained: ExplainedClip, out: Path) -> Path:
    """Writes the figure alone, as a PNG file."""
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: expected a file name that ends with .png")
    charts.png(partial(draw, explained.explanation, explained.footage), out)
    return out


def _truth(manifest: Path, id: str, label: str) -> str:
    """The label of a clip in a manifest; empty if it has none."""
    row = next((row for row in numbered(read_table(manifest)).rows if row["id"] == id), {})
    return JOIN.join(filter(None, (row.get(name, "") for name in label.split(JOIN))))


def _of_manifest(manifest: Path, id: str, predictor: Predictor) -> Clip:
    clips = dict(named_clips([manifest], predictor))
    if id in clips:
        clip = clips[id]
        if isinstance(clip, Unusable):
            raise clip
        files = clip.items() if isinstance(clip, Mapping) else ()
        check_named(manifest, ((id, name, str(path.absolute())) for name, path in files if isinstance(path, Path)))
        return clip
    near = difflib.get_close_matches(id, clips, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; the first is {next(iter(clips))!r}"
    raise ValueError(f"{manifest}: no clip has the id {id!r}{hint} ({counted(len(clips), 'clip')})")
