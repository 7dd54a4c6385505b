"""`sparsefuse export`: a run folder in; a file that runs without this library, and a card that vouches for it, out."""

import logging
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from sparsefuse.export import clips as sources
from sparsefuse.export.card import facts, timed, write_card
from sparsefuse.export.clips import Clips
from sparsefuse.export.int8 import quantise
from sparsefuse.export.onnx import OPSET, write_onnx
from sparsefuse.export.parity import BATCH, Parity, Score, exported_logits, parity, score, trained_logits
from sparsefuse.export.program import Program, pad
from sparsefuse.export.runner import Runner, latency, open_file
from sparsefuse.export.traced import write_pt2
from sparsefuse.files.whole import replacing
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.runs.folder import ModelFacts, RunFolder

log = logging.getLogger(__name__)

Format = Literal["onnx", "pt2"]
TOLERANCE = 1e-4
INT8_LOSS = 0.01
"""Score that int8 may lose, or that of one clip where a point is less than one."""


class Exported(NamedTuple):
    """What was written."""

    file: Path
    card: dict[str, Any]


def export(
    run: Path,
    *,
    format: Format = "onnx",
    int8: bool = False,
    with_features: bool = False,
    out: Path | None = None,
    tolerance: float = TOLERANCE,
    manifest: Path | None = None,
    test: bool = False,
    force: bool = False,
    trust_code: bool = False,
) -> Exported:
    """Writes the model of a run as one file, with its card beside it as .json and .md.

    Checked on the run's validation split (with `test`, on the test split too) or on a manifest. Raises ValueError, and
    writes nothing, if logits differ by more than the tolerance or int8 loses more than `INT8_LOSS`, unless `force`.
    """
    if int8 and format != "onnx":
        raise ValueError("int8 is for ONNX: give --format onnx, or leave --int8 out")
    predictor = load(run, trust_code=trust_code)
    program = Program(predictor, with_features=with_features)
    if with_features and not any(given.kind == "sound" for given in program.inputs):
        raise ValueError(f"no modality of {run} is made by the extractor spectrogram; leave --with-features out")
    out = out or run / "export" / f"model{'-sound' * with_features}{'-int8' * int8}.{format}"
    if out.suffix != f".{format}":
        raise ValueError(f"--out must end in .{format}; got {out}")
    if manifest is not None:
        splits = {"manifest": sources.of_manifest(manifest, run, predictor, program.inputs)}
    else:
        names = ("valid", "test") if test else ("valid",)
        splits = {name: sources.of_run(run, name, predictor, program.inputs, trust_code=trust_code) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"fp32.{format}"
        log.info("writing the graph of %s for any batch and any lengths, which takes a minute or more ...", run)
        (write_onnx if format == "onnx" else write_pt2)(program, plain)
        made = plain
        if int8:
            made = Path(folder) / "int8.onnx"
            quantise(plain, made)
        card: dict[str, Any] = {"file": out.name, "format": format, "precision": "int8" if int8 else "float32"}
        known = RunFolder(run).read(ModelFacts)
        card |= facts(program, predictor, known.method, known.typical)
        card |= _checked(predictor, program, splits, plain, made, tolerance)
        card |= {"bytes": made.stat().st_size, "fp32_bytes": plain.stat().st_size}
        card |= {"opset": OPSET} if format == "onnx" else {}
        if card["failures"] and not force:
            raise ValueError(f"{out} not written: {'; '.join(card['failures'])}; --force writes it nevertheless")
        with replacing(out) as temporary:
            temporary.write_bytes(made.read_bytes())
    write_card(out, card)
    return Exported(out, card)


def _checked(
    predictor: Predictor, program: Program, splits: dict[str, Clips], plain: Path, made: Path, tolerance: float
) -> dict[str, Any]:
    """What the card says of parity, scores and time."""
    labels, given = predictor.labels, [clip for clips in splits.values() for clip in clips.given]
    log.info("comparing it with the trained model on %d clips ...", len(given))
    trained, runner = trained_logits(predictor, given), open_file(plain)
    said = _said(runner, program, given)
    same = parity(trained, *said, labels)
    found: dict[str, Any] = {"clips_from": " and ".join(clips.source for clips in splits.values())}
    found |= {"real_clips": all(clips.real for clips in splits.values())}
    found |= {"tolerance": tolerance, "parity": same._asdict()}
    quantised = None
    if made != plain:
        runner = open_file(made)
        said = _said(runner, program, given)
        quantised = parity(trained, *said, labels)
        found["int8"] = quantised._asdict()
    scores, start = {}, 0
    for split, clips in splits.items():
        part = slice(start, start + len(clips.given))
        start = part.stop
        if one := score(trained[part], said[0][part], clips, labels):
            scores[split] = one
    found["scores"] = {split: {**one._asdict(), "loss": one.loss} for split, one in scores.items()}
    found["failures"] = _failures(same, tolerance, quantised, scores)
    middle = sorted(given, key=lambda clip: sum(map(len, clip.streams.values())))[len(given) // 2]
    time = latency(runner, pad([middle.streams], program.inputs))
    return found | {"latency": timed(time, {name: len(x) for name, x in middle.streams.items()})}


def _said(runner: Runner, program: Program, given: list[sources.Given]) -> tuple[Tensor, Tensor]:
    """Logits of every clip alone, and in padded batches."""
    return tuple(exported_logits(runner, program.inputs, given, batch) for batch in (1, BATCH))  # pyright: ignore[reportReturnType]


def _failures(same: Parity, tolerance: float, quantised: Parity | None, scores: dict[str, Score]) -> list[str]:
    """Why the file should not be used; empty if it may."""
    found = []
    if not same.max_difference <= tolerance:
        found.append(f"logits differ by {same.max_difference:.2g}, more than the tolerance {tolerance:g}")
    if same.same_labels < same.clips:
        found.append(f"{same.clips - same.same_labels} of {same.clips} labels differ")
    if quantised is None:
        return found
    if not scores:
        found.append("int8 cannot be judged without labelled clips; give --manifest")
    for split, one in scores.items():
        if one.loss > max(INT8_LOSS, 1 / one.clips):
            found.append(f"int8 loses {one.loss:.3f} of {one.metric} on {split}, more than {INT8_LOSS} and one clip's")
    return found
