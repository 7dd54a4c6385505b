"""`sparsefuse export` of a run on clouds: a run folder in; an ONNX file and a card with its checks out."""

import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.cost import latency as timing
from sparsefuse.cost.points import SceneSize, count_points
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.scenes import CloudScene
from sparsefuse.export.card import PACKAGES, machine
from sparsefuse.export.onnx import OPSET, RUNTIME, need_onnx, write_onnx
from sparsefuse.export.points.card import PointCard, write_card
from sparsefuse.export.points.program import PointProgram
from sparsefuse.export.points.scenes import ParityScenes, arguments, noise, of_data
from sparsefuse.extras import need, versions
from sparsefuse.files.whole import replacing
from sparsefuse.inference.points.predictor import PointPredictor
from sparsefuse.layers.points.heads import yaw_of
from sparsefuse.shown import counted, said

log = logging.getLogger(__name__)

Found = tuple[Tensor, Tensor]
"""boxes (1, K, 7) and scores (1, K, C)"""


class PointExported(NamedTuple):
    """The written file and its card."""

    file: Path
    card: PointCard

    def __str__(self) -> str:
        card = self.file.with_suffix(".md").read_text(encoding="utf-8")
        return f"{card}\n{self.file} {self.file.with_suffix('.json')}"


def export_points(
    run: Path,
    predictor: PointPredictor,
    *,
    out: Path,
    tolerance: float,
    manifest: Path | None = None,
    test: bool = False,
    force: bool = False,
) -> PointExported:
    """Writes the whole network as one ONNX file, for one scene of the run's number of points and pictures, with its
    card beside it, .json and .md; what it finds is not suppressed.

    It is checked on rooms of noise, and on scenes of the run's validation split (with `test`, of the test split too) or
    of a manifest. Raises ValueError, and writes nothing, if outputs differ by more than `tolerance`, unless `force`.
    """
    need_onnx()
    if out.suffix != ".onnx":
        raise ValueError(f"--out must end in .onnx; got {out}")
    program = PointProgram(predictor).eval()
    if manifest is not None:
        parts = [of_data(run, predictor, program, manifest=manifest)]
    else:
        splits = ("valid", "test") if test else ("valid",)
        parts = [of_data(run, predictor, program, split=split) for split in splits]
    parts = [*(part for part in parts if part.scenes), noise(predictor, program)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        log.info("writing the graph of %s for %d points, which takes a minute or more ...", run, program.num_points)
        try:
            write_onnx(program, file)
        except RuntimeError as error:  # an exporter that does not write loops, as those before PyTorch 2.9
            why = said(error).strip().splitlines()[0][:200]
            raise ValueError(f"{predictor.facts.method} cannot be exported by this PyTorch: {why}") from error
        card = _card(predictor, program, parts, file, out.name, tolerance)
        if card.failures and not force:
            raise ValueError(f"{out} not written: {'; '.join(card.failures)}; --force writes it anyway")
        with replacing(out) as temporary:
            temporary.write_bytes(file.read_bytes())
    write_card(out, card)
    return PointExported(out, card)


def _card(
    predictor: PointPredictor,
    program: PointProgram,
    parts: Sequence[ParityScenes],
    file: Path,
    name: str,
    tolerance: float,
) -> PointCard:
    """Compares the file with the trained model, and measures it."""
    facts, runner = predictor.facts, open_onnx(file)
    scenes = [scene for part in parts for scene in part.scenes]
    log.info("comparing it with the trained model on %s ...", counted(len(scenes), "scene"))
    most = parity(predictor, program, runner, scenes)
    failures = [] if most <= tolerance else [f"outputs differ by {most:.2g}, more than the tolerance {tolerance:g}"]
    given = arguments(scenes[0], program, predictor.stats)
    found = timing.latency(lambda: runner(given))
    size = SceneSize(program.num_points, program.frames, *program.size)
    return PointCard(
        file=name,
        format="onnx",
        precision="float32",
        method=facts.method,
        task=facts.task,
        classes=list(facts.classes),
        inputs=list(program.inputs),
        outputs=program.output_names,
        proposals=runner(given)[0].shape[1],
        gmacs=count_points(predictor.model, size).total / 1e9,
        versions=versions(PACKAGES),
        machine=machine(),
        scenes_from=" and ".join(part.source for part in parts),
        real_scenes=any(part.real for part in parts),
        scenes=len(scenes),
        tolerance=tolerance,
        max_difference=most,
        failures=failures,
        latency_ms=found.trusted_ms,
        spread_ms=None if found.doubt else found.spread_ms,
        doubt=found.doubt,
        bytes=file.stat().st_size,
        opset=OPSET,
        runtime=RUNTIME,
    )


@torch.inference_mode()
def parity(
    predictor: PointPredictor,
    program: PointProgram,
    runner: Callable[[Sequence[Tensor]], Found],
    scenes: Sequence[CloudScene],
) -> float:
    """The largest difference from the trained model over all scenes; NaN if one is."""
    most = 0.0
    for scene in scenes:
        expected, found = trained(predictor, scene), runner(arguments(scene, program, predictor.stats))
        boxes = found[0] - expected[0]
        turn = (boxes[..., 6:] + math.pi) % (2 * math.pi) - math.pi  # a whole turn is none
        for part in (boxes[..., :6], turn, found[1] - expected[1]):
            largest = float(part.abs().max())
            most = largest if not largest <= most else most
    return most


def trained(predictor: PointPredictor, scene: CloudScene) -> Found:
    """What the trained model finds, as `predict` computes it, before anything is suppressed."""
    batch = collate([scene])
    outputs = predictor.model(batch.cloud, batch.pictures, batch.cameras)
    said = outputs.state.predictions[-1]
    shares = outputs.votes.shares if outputs.votes is not None else said.labels.softmax(2)
    boxes = torch.cat([said.centre, said.size(), yaw_of(said)[..., None]], 2)
    return boxes, said.objectness.sigmoid()[..., None] * shares


def open_onnx(path: Path) -> Callable[[Sequence[Tensor]], Found]:
    """The file in onnxruntime, on one thread."""
    onnxruntime = need("onnxruntime", "export", f"running {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(given: Sequence[Tensor]) -> Found:
        boxes, scores = session.run(["boxes", "scores"], dict(zip(names, (x.numpy() for x in given), strict=True)))
        return torch.from_numpy(boxes), torch.from_numpy(scores)

    return run
