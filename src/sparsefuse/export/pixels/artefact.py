"""`sparsefuse export` of a run on pictures: a run folder in; an ONNX file and a card with its checks out."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.cost import count
from sparsefuse.cost import latency as timing
from sparsefuse.export.card import PACKAGES, machine
from sparsefuse.export.onnx import OPSET, RUNTIME, need_onnx, write_onnx
from sparsefuse.export.pixels.card import PixelCard, PixelLatency, PixelParity, write_card
from sparsefuse.export.pixels.program import PixelProgram
from sparsefuse.export.pixels.scenes import ParityScene, ParityScenes, arguments, noise, of_data
from sparsefuse.export.runner import Runner, open_file
from sparsefuse.extras import versions
from sparsefuse.files.whole import replacing
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.shown import counted, said

log = logging.getLogger(__name__)

BATCH = 4
SAME = 0.999
"""share of pixels whose class must be the same: of two that are as likely, rounding decides"""


class PixelExported(NamedTuple):
    """The written file and its card."""

    file: Path
    card: PixelCard

    def __str__(self) -> str:
        card = self.file.with_suffix(".md").read_text(encoding="utf-8")
        return f"{card}\n{self.file} {self.file.with_suffix('.json')}"


def export_pixels(
    run: Path,
    predictor: PixelPredictor,
    *,
    out: Path,
    tolerance: float,
    manifest: Path | None = None,
    test: bool = False,
    force: bool = False,
) -> PixelExported:
    """Writes the model as one ONNX file, for any batch, rows and columns, with its card beside it, .json and .md.

    It is checked on noise, without each stream in turn, and on scenes of the run's validation split (with `test`, of
    the test split too) or of a manifest. Raises ValueError, and writes nothing, if outputs differ by more than
    `tolerance`, unless `force`.
    """
    need_onnx()
    if out.suffix != ".onnx":
        raise ValueError(f"--out must end in .onnx; got {out}")
    program = PixelProgram(predictor)
    splits = ("valid", "test") if test else ("valid",)
    if manifest is not None:
        parts = [of_data(run, predictor, manifest=manifest)]
    else:
        parts = [of_data(run, predictor, split=split) for split in splits]
    parts = [*(part for part in parts if part.scenes), noise(predictor)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        log.info("writing the graph of %s for any batch and any size, which takes a minute or more ...", run)
        try:
            write_onnx(program, file)
        except RuntimeError as error:  # an optimisation of the exporter's
            why = said(error).strip().splitlines()[0][:200]
            raise ValueError(f"{predictor.facts.method} cannot be exported for any size yet: {why}") from error
        card = _card(predictor, program, parts, file, out.name, tolerance)
        if card.failures and not force:
            raise ValueError(f"{out} not written: {'; '.join(card.failures)}; --force writes it anyway")
        with replacing(out) as temporary:
            temporary.write_bytes(file.read_bytes())
    write_card(out, card)
    return PixelExported(out, card)


def _card(
    predictor: PixelPredictor,
    program: PixelProgram,
    parts: Sequence[ParityScenes],
    file: Path,
    name: str,
    tolerance: float,
) -> PixelCard:
    """Compares the file with the trained model, and measures it."""
    facts, runner = predictor.facts, open_file(file)
    scenes = [scene for part in parts for scene in part.scenes]
    log.info("comparing it with the trained model on %s ...", counted(len(scenes), "scene"))
    same = parity(predictor, program, runner, scenes)
    target = facts.target.kind if facts.task == "translate" else None
    assert target != "auto", "a run knows what it translates to"
    return PixelCard(
        file=name,
        format="onnx",
        precision="float32",
        method=facts.method,
        task=facts.task,
        classes=list(facts.classes),
        target=target,
        inputs=list(program.inputs),
        outputs=program.output_names,
        size=facts.size,
        resized=predictor.resize is not None,
        gmacs=count.count_pixels(predictor.model, *facts.size) / 1e9,
        versions=versions(PACKAGES),
        machine=machine(),
        scenes_from=" and ".join(part.source for part in parts),
        real_scenes=any(part.real for part in parts),
        tolerance=tolerance,
        parity=same,
        failures=_failures(same, tolerance),
        latency=_latency(runner, program, facts.size),
        bytes=file.stat().st_size,
        opset=OPSET,
        runtime=RUNTIME,
    )


@torch.inference_mode()
def parity(
    predictor: PixelPredictor, program: PixelProgram, runner: Runner, scenes: Sequence[ParityScene]
) -> PixelParity:
    """The largest difference over all scenes: alone against the trained model's own way of reading them, together
    against alone."""
    most, right, pixels = 0.0, 0, 0
    alone: list[Tensor] = []
    for scene in scenes:
        trained = _trained(predictor, program, scene.pictures)
        found = runner(arguments([scene], program.inputs))[0]
        alone.append(found)
        most = _worse(most, trained - found)
        right += int((trained.argmax(2) == found.argmax(2)).sum())
        pixels += found[..., 0].numel()
    for i in range(0, len(scenes), BATCH):
        together = runner(arguments(scenes[i : i + BATCH], program.inputs))
        for found, one in zip(together, alone[i : i + BATCH], strict=True):
            most = _worse(most, found[: one.shape[0], : one.shape[1]] - one)
    return PixelParity(len(scenes), most, right / pixels if program.classes else 1.0)


def _trained(predictor: PixelPredictor, program: PixelProgram, pictures: Mapping[str, Tensor]) -> Tensor:
    """(H, W, C) of the trained model, as `predict` computes it."""
    present = predictor.present(dict(pictures))
    values = predictor.model(predictor.together([present])).logits[0]
    return values if program.classes else torch.from_numpy(predictor.in_units(values))


def _worse(most: float, difference: Tensor) -> float:
    """The larger; NaN if one is."""
    found = float(difference.abs().max())
    return found if not found <= most else most


def _failures(same: PixelParity, tolerance: float) -> list[str]:
    """Why the file should not be used; empty if it may."""
    failures = []
    if not same.max_difference <= tolerance:
        failures.append(f"outputs differ by {same.max_difference:.2g}, more than the tolerance {tolerance:g}")
    if same.same_labels < SAME:
        failures.append(f"{100 * (1 - same.same_labels):.2g} % of the classes differ")
    return failures


def _latency(runner: Runner, program: PixelProgram, size: tuple[int, int]) -> PixelLatency:
    generator = torch.Generator().manual_seed(0)
    pictures = {spec.name: torch.rand(*size, spec.width, generator=generator) for spec in program.inputs}
    given = arguments([ParityScene("", pictures)], program.inputs)
    found = timing.latency(lambda: runner(given))
    spread = None if found.doubt else found.spread_ms
    return PixelLatency(found.trusted_ms, spread, found.runs, *size, doubt=found.doubt)
