"""`sparsefuse export`: a run folder in; a file that runs without this library, and a card with its checks, out."""

import logging
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.cost import count
from sparsefuse.export import clips as sources
from sparsefuse.export.card import PACKAGES, ExportCard, machine, write_card
from sparsefuse.export.clips import ParityClips
from sparsefuse.export.int8 import quantise
from sparsefuse.export.onnx import OPSET, RUNTIME, need_onnx, write_onnx
from sparsefuse.export.parity import BATCH, Parity, ScoreChange, exported_logits, parity, score, trained_logits
from sparsefuse.export.pixels.artefact import PixelExported, export_pixels
from sparsefuse.export.points.artefact import PointExported, export_points
from sparsefuse.export.program import Program
from sparsefuse.export.runner import Latency, Runner, latency, open_file
from sparsefuse.export.traced import write_pt2
from sparsefuse.extras import versions
from sparsefuse.files.whole import replacing
from sparsefuse.inference.pixels.predictor import load_pixels
from sparsefuse.inference.points.predictor import load_points
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts, Result
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

Format = Literal["onnx", "pt2"]
TOLERANCE = 1e-4
INT8_LOSS = 0.01
"""Loss of score that int8 may have; at least that of one clip."""


class Exported(NamedTuple):
    """The written file and its card."""

    file: Path
    card: ExportCard

    def __str__(self) -> str:
        card = self.file.with_suffix(".md").read_text(encoding="utf-8")
        return f"{card}\n{self.file} {self.file.with_suffix('.json')}"


def export(
    run: str | Path,
    *,
    format: Format = "onnx",
    int8: bool = False,
    with_features: bool = False,
    out: str | Path | None = None,
    tolerance: float = TOLERANCE,
    manifest: str | Path | None = None,
    test: bool = False,
    force: bool = False,
    trust_code: bool = False,
) -> Exported | PixelExported | PointExported:
    """Writes the model of a run as one file (`<run>/export/model.<format>`), with its card beside it, .json and .md.

    `int8`: weights as 8-bit integers (ONNX only). `with_features`: include the extractor spectrogram, so that the
    input is sound. `trust_code`: allow a run whose method or extractor is a .py file. The file is checked on the run's
    validation split (with `test`, on the test split too) or on a manifest. Raises ValueError, and writes nothing, if
    logits differ by more than `tolerance` or int8 loses more than `INT8_LOSS`, unless `force`.
    """
    task = RunFolder(Path(run)).task
    if task in (*PIXEL_TASKS, *POINT_TASKS):
        what = "pictures" if task in PIXEL_TASKS else "clouds"
        _check_scenes(what, format, int8=int8, with_features=with_features)
        file = Path(out) if out else Path(run) / "export" / "model.onnx"
        scenes = None if manifest is None else Path(manifest)
        how: dict[str, Any] = {"tolerance": tolerance, "manifest": scenes, "test": test, "force": force}
        if task in PIXEL_TASKS:
            return export_pixels(Path(run), load_pixels(run), out=file, **how)
        return export_points(Path(run), load_points(run), out=file, **how)
    if int8 and format != "onnx":
        raise ValueError("int8 is for ONNX: give --format onnx, or leave --int8 out")
    if format == "onnx":
        need_onnx()
    run = Path(run)
    predictor = load(run, trust_code=trust_code)
    program = Program(predictor, with_features=with_features)
    if with_features and not any(spec.kind == "sound" for spec in program.inputs):
        raise ValueError(f"no modality of {run} is made by the extractor spectrogram; leave --with-features out")
    out = Path(out) if out else run / "export" / f"model{'-sound' * with_features}{'-int8' * int8}.{format}"
    if out.suffix != f".{format}":
        raise ValueError(f"--out must end in .{format}; got {out}")
    if manifest is not None:
        splits = sources.of_manifest(Path(manifest), run, predictor, program.inputs)
    else:
        names = ("valid", "test") if test else ("valid",)
        splits = {name: sources.of_run(run, name, predictor, program.inputs, trust_code=trust_code) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"fp32.{format}"
        log.info("exporting %s for any batch size and length, which takes a minute or more ...", run)
        (write_onnx if format == "onnx" else write_pt2)(program, plain)
        final = plain
        if int8:
            final = Path(folder) / "int8.onnx"
            quantise(plain, final)
        facts = RunFolder(run).read(ModelFacts)
        checked = _checked(predictor, program, splits, plain, final)
        failures = _failures(checked, tolerance, int8=int8)
        if failures and not force:
            raise ValueError(f"{out} not written: {'; '.join(failures)}; --force writes it anyway")
        card = ExportCard(
            file=out.name,
            format=format,
            precision="int8" if int8 else "float32",
            method=facts.method,
            task=facts.labels.task,
            labels=facts.labels.classes,
            heads=facts.labels.heads,
            calibrated=predictor.calibration is not None,
            temperature=predictor.temperature,
            inputs=list(program.inputs),
            outputs=program.output_names,
            gmacs=count.total(predictor.model, facts.typical) / 1e9,
            versions=versions(PACKAGES),
            machine=machine(),
            clips_from=" and ".join(clips.source for clips in splits.values()),
            real_clips=all(clips.real for clips in splits.values()),
            tolerance=tolerance,
            parity=checked.parity,
            scores=checked.scores,
            failures=failures,
            latency=checked.latency,
            bytes=final.stat().st_size,
            fp32_bytes=plain.stat().st_size,
            int8=checked.int8,
            opset=OPSET if format == "onnx" else None,
            runtime=RUNTIME if format == "onnx" else None,
            features_gmacs=result.cost.features_gmacs if (result := RunFolder(run).get(Result)) else {},
        )
        with replacing(out) as temporary:
            temporary.write_bytes(final.read_bytes())
    write_card(out, card)
    return Exported(out, card)


def _check_scenes(of: str, format: Format, *, int8: bool, with_features: bool) -> None:
    """Raises ValueError for what a run on pictures or clouds is not exported as."""
    for given, what in ((format != "onnx", f"--format {format}"), (int8, "--int8"), (with_features, "--with-features")):
        if given:
            raise ValueError(f"{what} is for clips; a run on {of} is exported as ONNX in float32: leave it out")


class _Checked(NamedTuple):
    """Results of the exported model on clips."""

    parity: Parity
    """of the float32 graph"""
    int8: Parity | None
    scores: dict[str, ScoreChange]
    latency: Latency


def _checked(
    predictor: Predictor, program: Program, splits: dict[str, ParityClips], plain: Path, final: Path
) -> _Checked:
    labels, checked = predictor.labels, [clip for clips in splits.values() for clip in clips.clips]
    log.info("comparing it with the trained model on %s ...", counted(len(checked), "clip"))
    trained, runner = trained_logits(predictor, checked), open_file(plain)
    alone, together = _outputs(runner, program, checked)
    same, quantised = parity(trained, alone, together, labels), None
    if final != plain:
        runner = open_file(final)
        alone, together = _outputs(runner, program, checked)
        quantised = parity(trained, alone, together, labels)
    scores, start = {}, 0
    for split, clips in splits.items():
        part = slice(start, start + len(clips.clips))
        start = part.stop
        if one := score(trained[part], alone[part], clips, labels):
            scores[split] = one
    middle = sorted(checked, key=lambda clip: sum(map(len, clip.streams.values())))[len(checked) // 2]
    return _Checked(same, quantised, scores, latency(runner, middle.streams, program.inputs))


def _outputs(runner: Runner, program: Program, clips: list[sources.ParityClip]) -> tuple[Tensor, Tensor]:
    """Logits of every clip alone, and in padded batches."""
    return exported_logits(runner, program.inputs, clips), exported_logits(runner, program.inputs, clips, BATCH)


def _failures(checked: _Checked, tolerance: float, *, int8: bool) -> list[str]:
    """Why the file should not be used; empty if it may."""
    failures, same, scores = [], checked.parity, checked.scores
    if not same.max_difference <= tolerance:
        failures.append(f"logits differ by {same.max_difference:.2g}, more than the tolerance {tolerance:g}")
    if same.same_labels < same.clips:
        failures.append(f"{same.clips - same.same_labels} of {same.clips} labels differ")
    if not int8:
        return failures
    if not scores:
        failures.append("int8 cannot be judged without labelled clips; give --manifest")
    for split, one in scores.items():
        if one.loss > max(INT8_LOSS, 1 / one.clips):
            failures.append(
                f"int8 loses {one.loss:.3f} of {one.metric} on {split}, more than {INT8_LOSS} and one clip's"
            )
    return failures
