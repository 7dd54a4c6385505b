"""The card of an exported detector: <name>.json for programs, <name>.md for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsefuse.export.points.program import SceneInput
from sparsefuse.files.typed import write
from sparsefuse.files.whole import write_text
from sparsefuse.shown import REASON, counted, markdown, markdown_table


@dataclass(frozen=True)
class PointCard:
    """The facts that a user of the file needs."""

    file: str
    format: str
    precision: str
    method: str
    task: str
    classes: list[str]
    inputs: list[SceneInput]
    outputs: list[str]
    proposals: int
    """boxes of a scene, before those that overlap are suppressed"""
    gmacs: float
    versions: Mapping[str, str]
    machine: str
    scenes_from: str
    real_scenes: bool
    scenes: int
    tolerance: float
    max_difference: float
    """of centres and sizes in metres, yaw in radians, and scores"""
    failures: list[str]
    """why it should not be used"""
    latency_ms: float | None
    """median of one scene; None if it cannot be trusted"""
    spread_ms: float | None
    doubt: str
    bytes: int
    opset: int
    runtime: str


def write_card(path: Path, card: PointCard) -> None:
    """Writes both beside the exported file `path`."""
    write_text(path.with_suffix(".md"), page(card))
    write(path.with_suffix(".json"), card)


def page(card: PointCard) -> str:
    """The card for people."""
    lines = [("input", "shape", "what"), *((i.name, f"{i.shape} {i.type}", i.what) for i in card.inputs)]
    names = ", ".join(f"{i} {markdown(name)}" for i, name in enumerate(card.classes))
    time = f"- ({card.doubt}; export it again on a quiet machine)"
    if card.latency_ms is not None and card.spread_ms is not None:
        time = f"{card.latency_ms:.2f} ms ± {card.spread_ms:.2f} (median, half the 10-90 % range)"
    return "\n".join([
        f"# {markdown(card.file)}",
        "",
        f"{markdown(card.method)} for detection, as {card.format}, {card.precision}, {card.bytes / 1e3:.0f} kB.",
        "",
        markdown_table(lines, ["---"] * 3),
        "All sizes are fixed: sampling and grouping are of so many points. Of a larger cloud, draw points at random; a",
        "smaller one, and missing pictures, are padded with zeros and masked.",
        "",
        f"Outputs: boxes (1, {card.proposals}, 7) float32, rows of centre x, y, z, size along the box's own x, y, z,",
        f"and yaw; scores (1, {card.proposals}, {len(card.classes)}) float32: {names}.",
        "Boxes that overlap are not suppressed:",
        "of those of one class that overlap by more than 0.25, keep the one with the highest score.",
        "",
        f"Runs in ONNX Runtime {card.runtime} and later (opset {card.opset}).",
        "",
        "## Agreement with the trained model",
        "",
        f"Checked on {counted(card.scenes, 'scene')} ({markdown(card.scenes_from)}).",
        "",
        f"Boxes and scores differ from the trained model's by at most {card.max_difference:.2g}; tolerance "
        f"{card.tolerance:g}.",
        *(f"**Refused, written with --force: {markdown(reason, REASON)}.**" for reason in card.failures),
        "",
        "## Cost",
        "",
        f"One scene: {time}, one thread, {card.machine}. {card.gmacs:.4f} GMACs.",
        "",
        "Made with " + ", ".join(f"{name} {number}" for name, number in card.versions.items()) + ".",
    ]) + "\n"  # fmt: skip
