"""The process that decodes untrusted files: a task in; features, an explanation or a reason for refusal out.

A decoder that crashes, hangs or takes too much memory ends this process and one request, not the server.
"""

import functools
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from sparsefuse.errors import unknown
from sparsefuse.files.references import TABLES, TEXTS
from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import import_av
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.serve.upload import FILE, JSON, TRANSCRIPT, Received
from sparsefuse.shown import shown

if TYPE_CHECKING:
    from sparsefuse.inference.predictor import Clip, Predictor

MEMORY = 2 * 2**30
"""Bytes that reading one clip may take on top of the model."""
NOT_GIVEN = "not given"
"""The reason of a predictor for a modality that a clip does not have."""
FEW = 4096
TIMES = 8
"""A stream may have `TIMES` the tokens of the longest in training, or `FEW` if that is less."""


class Rules(NamedTuple):
    """The arguments of a reading process."""

    run: Path
    trust_code: bool
    max_seconds: float
    device: str = "cpu"


class ReadTask(NamedTuple):
    """What to do with one clip."""

    work: Literal["read", "explain"]
    files: list[Received]


class ClipFeatures(NamedTuple):
    """The features of a clip."""

    features: dict[str, np.ndarray]
    """(N, F) float32 per modality, normalised"""
    missing: dict[str, str]


class Explained(NamedTuple):
    """The explanation of a clip."""

    shares: dict[str, float]
    """per modality, of the rollout; they sum to one"""
    figure: str
    """SVG for a page with the report's colour variables"""
    notes: tuple[str, ...]


class RefusedClip(NamedTuple):
    """A clip that cannot be used."""

    reason: str
    trace: str = ""
    """of an unexpected error, for the log"""
    late: bool = False
    """whether it timed out"""


class SceneSaid(NamedTuple):
    """What a run on pictures says of a scene."""

    facts: dict[str, Any]
    """size, classes and what is missing, as JSON"""
    png: bytes
    """labels with a palette, or the picture"""
    views: dict[str, bytes]
    """stream, and `prediction` -> a small PNG of what it shows; empty unless asked for"""


Result = ClipFeatures | Explained | SceneSaid | RefusedClip


def serve_tasks(connection: Connection, rules: Rules) -> None:
    """Processes tasks until the connection is closed, or the server dies."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the server ends its readers after their requests
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    from sparsefuse.inference.predictor import load

    sys.modules["torch"].set_num_threads(1)
    predictor = load(rules.run, device=rules.device, trust_code=rules.trust_code)
    _warm_up(predictor)
    most = most_tokens(rules.run)
    limit_memory()
    connection.send(None)  # ready
    while True:
        try:
            task: ReadTask = connection.recv()
            connection.send(result_of(task, predictor, most, rules.max_seconds))
        except (EOFError, BrokenPipeError):
            return


def _warm_up(predictor: "Predictor") -> None:
    """Imports modules that the first clip would otherwise wait for."""
    from sparsefuse.features import PLACE, resolve

    for spec in predictor.extract.values():
        resolve(spec["extractor"], {name: value for name, value in spec.items() if name not in PLACE})
    if predictor.extract:
        import_av()


def most_tokens(run: Path) -> dict[str, int]:
    """The longest accepted stream, per modality: memory may grow with its square."""
    facts = RunFolder(run).read(ModelFacts)
    if facts.members is not None:  # what is cut or resampled inside may have any length
        whole = [model for model in facts.models if not model.max_length]
        lengths = [(n, length) for model in whole for n, length in model.lengths.items() if n not in model.resample]
    else:
        lengths = [(n, length) for n, length in facts.lengths.items() if facts.windows == 1 or n in facts.resample]
    return {name: max(FEW, TIMES * max(n for other, n in lengths if other == name)) for name, _ in lengths}


def result_of(task: ReadTask, predictor: "Predictor", most: dict[str, int], max_seconds: float) -> Result:
    """Does one task; any error refuses the clip."""
    try:
        fed = _fed(task.files, predictor)
        _check_media(task.files, fed, predictor, max_seconds)
        clip = _clip(task.files, fed, predictor)
        features, missing = predictor.features(clip)
        _check_used(task.files, fed, features, missing)
        for name, x in features.items():
            if len(x) > most.get(name, len(x)):
                raise Unusable(f"{name}: has {len(x)} tokens; the limit is {most[name]}, cut the clip")
        if task.work == "explain":
            return _explained(predictor, clip)
        missing = {name: _without_paths(why, task.files) for name, why in missing.items()}
        return ClipFeatures({name: x.numpy() for name, x in features.items()}, missing)
    except MemoryError:
        return refused(task, f"needs more than {MEMORY / 2**30:g} GiB of memory; send it shorter or smaller")
    except ValueError as error:
        return refused(task, str(error))
    except Exception as error:
        if "memory" in str(error).lower():  # torch has no exception class for it
            return refused(task, f"needs more than {MEMORY / 2**30:g} GiB of memory; send it shorter or smaller")
        what = {"read": "read", "explain": "explained"}[task.work]
        return refused(task, f"cannot be {what} ({type(error).__name__})", traceback.format_exc())


def refused(task: ReadTask, reason: str, trace: str = "") -> RefusedClip:
    """With the names that the client gave its files."""
    return RefusedClip(_without_paths(reason, task.files), trace)


def _without_paths(text: str, files: Sequence[Received]) -> str:
    """Replaces generated paths by the client's file names; those of texts in JSON, which have none, are left out."""
    for file in files:
        text = text.replace(str(file.path), file.shown)
        if file.field == JSON:
            text = re.sub(rf"{re.escape(str(file.path.parent))}/\d+\.txt", "the text", text)
    return text


def _fed(files: Sequence[Received], predictor: "Predictor") -> dict[str, set[str]]:
    """Field -> the modalities that are read from its file; of the one for all, those that no other is for."""
    fed: dict[str, set[str]] = {}
    for file in sorted(files, key=lambda file: file.field == FILE):
        if file.field in predictor.columns:
            fed[file.field] = {
                name for name in predictor.model.modalities if file.field in (name, predictor.source(name))
            }
        elif file.field == FILE:
            fed[FILE] = set(predictor.of_file(file.path)).difference(*fed.values())
            if not fed[FILE]:
                raise Unusable(f"field {FILE!r} is for no modality beside {', '.join(sorted(fed.keys() - {FILE}))}")
    return fed


def _check_media(
    files: Sequence[Received], fed: Mapping[str, set[str]], predictor: "Predictor", max_seconds: float
) -> None:
    """Raises Unusable for a film or sound that is too long; what is read as words or readings has no such length."""
    from sparsefuse.media.duration import duration

    for file in files:
        plain = file.path.suffix in TEXTS | TABLES and not fed.get(file.field, set()) & set(predictor.of_media)
        if file.field == JSON or file.path.suffix in (".npy", TRANSCRIPT) or plain:
            continue
        seconds = duration(file.path)
        if seconds > max_seconds:
            raise Unusable(f"{file.path}: is {seconds:.1f} s long; the limit is {max_seconds:g} s, cut the clip")


def _clip(files: Sequence[Received], fed: Mapping[str, set[str]], predictor: "Predictor") -> "Clip":
    by_field = {file.field: file.path for file in files}
    if JSON in by_field:
        return _of_json(by_field[JSON], predictor)
    if FILE not in by_field or FILE in predictor.columns:
        return {**by_field}
    whole = by_field.pop(FILE)
    return {**dict.fromkeys(fed[FILE], whole), **by_field} if by_field else whole


def _of_json(path: Path, predictor: "Predictor") -> "Clip":
    """Arrays, and files of the texts: as a text alone, a name of a file would be taken for that file."""
    try:
        body = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unusable(f"the body is not JSON: {error}") from error
    features, texts = (body.get(key, {}) if isinstance(body, dict) else None for key in ("features", "texts"))
    if not isinstance(features, dict) or not isinstance(texts, dict) or not {**features, **texts}:
        raise Unusable('the JSON must be {"features": {modality: rows of numbers}, "texts": {column: text}}')
    columns = [name for name in predictor.columns if predictor.reads_text(name)]
    for name, text in texts.items():
        if name not in columns or name in features:
            raise Unusable(unknown("column of text", name, columns))
        if not isinstance(text, str):
            raise Unusable(f"{shown(name)}: expected a text")
        (path.parent / f"{columns.index(name)}.txt").write_text(text, encoding="utf-8", errors="replace")
    files = {name: path.parent / f"{columns.index(name)}.txt" for name in texts}
    return {**{name: _array(name, rows) for name, rows in features.items()}, **files}


def _array(name: str, rows: Any) -> np.ndarray:
    try:
        return np.asarray(rows, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise Unusable(f"{shown(name)}: expected rows of numbers, all of one length") from error


def _check_used(
    files: Sequence[Received], fed: Mapping[str, set[str]], features: dict[str, Any], missing: dict[str, str]
) -> None:
    """Raises Unusable for a file, or a clip, that no modality could be read from."""
    for names in fed.values():
        if names and not names & features.keys():
            raise Unusable(_why({name: missing[name] for name in sorted(names)}))
    if not features:
        raise Unusable(_why(missing))
    if any(file.field == JSON for file in files) and set(missing.values()) - {NOT_GIVEN}:
        raise Unusable(_why(missing))


def _why(missing: dict[str, str]) -> str:
    """The reasons, each once; after its modality, unless it starts with it."""
    missing = {name: why for name, why in missing.items() if why != NOT_GIVEN} or missing
    reasons = list(dict.fromkeys(missing.values()))
    if len(reasons) == 1:
        return reasons[0]
    return "; ".join(why if why.startswith(name) else f"{name}: {why}" for name, why in missing.items())


def _explained(predictor: "Predictor", clip: "Clip") -> Explained:
    from sparsefuse.explain import explain
    from sparsefuse.explain.footage import footage
    from sparsefuse.explain.pictures import draw
    from sparsefuse.report import charts

    explanation = explain(predictor, clip)
    film = footage(predictor, clip, list(explanation.rollout))
    figure = charts.svg(functools.partial(draw, explanation, film), salt="serve")
    return Explained(explanation.shares, _without_css(figure), explanation.notes)


def _without_css(svg: str) -> str:
    """The figure with attributes in place of style="...", since the page's policy allows no styles but its file."""

    def attributes(match: re.Match[str]) -> str:
        return "".join(f' {name}="{value}"' for name, value in re.findall(r"([\w-]+): ([^;]+)", match[1]))

    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    return re.sub(r"<\w[^>]*>", lambda tag: re.sub(r' style="([^"]*)"', attributes, tag[0]), svg)


def limit_memory() -> None:
    """Decoding that needs more raises MemoryError, instead of exhausting the machine."""
    if sys.platform != "linux":
        return
    import resource

    status = Path("/proc/self/status").read_text(encoding="ascii")
    used = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
