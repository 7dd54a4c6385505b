"""The card of an exported file of a model on pixels: <name>.json for programs, <name>.md for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsefuse.config.pixels import Kind, PixelTask
from sparsefuse.export.pixels.program import PictureInput
from sparsefuse.files.typed import write
from sparsefuse.files.whole import write_text
from sparsefuse.shown import REASON, counted, markdown, markdown_table

WHAT: dict[Kind, str] = {
    "color": "red, green, blue from 0 to 1",
    "gray": "gray from 0 to 1",
    "depth": "metres; 0 where nothing was measured",
    "normal": "unit vectors",
}
_TASKS: dict[PixelTask, str] = {"segment": "segmentation", "translate": "translation"}


@dataclass(frozen=True)
class PixelParity:
    """Differences on a set of scenes."""

    scenes: int
    max_difference: float
    """of all logits, or of values of the picture from -1 to 1; scenes alone and in padded batches"""
    same_labels: float
    """share of pixels with the same class; 1 in translation"""


@dataclass(frozen=True)
class PixelLatency:
    """The time of one scene."""

    median_ms: float | None
    """None if it cannot be trusted"""
    spread_ms: float | None
    """half the distance between the 10th and the 90th percentile"""
    runs: int
    rows: int
    columns: int
    threads: int = 1
    doubt: str = ""


@dataclass(frozen=True)
class PixelCard:
    """The facts that a user of the file needs."""

    file: str
    format: str
    precision: str
    method: str
    task: PixelTask
    classes: list[str]
    target: Kind | None
    """what the picture shows that it makes"""
    inputs: list[PictureInput]
    outputs: list[str]
    size: tuple[int, int]
    """rows and columns it was trained on"""
    resized: bool
    """whether all pictures were resized to that"""
    gmacs: float
    """of one scene of that size"""
    versions: Mapping[str, str]
    machine: str
    scenes_from: str
    real_scenes: bool
    tolerance: float
    parity: PixelParity
    failures: list[str]
    """why it should not be used"""
    latency: PixelLatency
    bytes: int
    opset: int
    """of ONNX"""
    runtime: str
    """the oldest ONNX Runtime that runs the file"""


def write_card(path: Path, card: PixelCard) -> None:
    """Writes both beside the exported file `path`."""
    write_text(path.with_suffix(".md"), page(card))
    write(path.with_suffix(".json"), card)


def page(card: PixelCard) -> str:
    """The card for people."""
    rows, columns = card.size
    lines = [("input", "shape", "what"), *(line for spec in card.inputs for line in _input_lines(spec))]
    seen = f"Give pictures of {rows} x {columns} (rows x columns): all were resized to that." if card.resized else (
        f"Trained on pictures of about {rows} x {columns} (rows x columns); cut much larger ones into tiles of that."
    )  # fmt: skip
    parity, labels = card.parity, f", {100 * card.parity.same_labels:.3f} % of the classes are the same"
    return "\n".join([
        f"# {markdown(card.file)}",
        "",
        f"{markdown(card.method)} for {_TASKS[card.task]}, as {card.format}, {card.precision}, "
        f"{card.bytes / 1e3:.0f} kB.",
        "",
        markdown_table(lines, ["---"] * 3),
        f"Batch, rows and columns may be any, alike in all inputs. {seen}",
        "",
        *_output_lines(card),
        f"Runs in ONNX Runtime {card.runtime} and later (opset {card.opset}).",
        "",
        "## Agreement with the trained model",
        "",
        f"Checked on {counted(parity.scenes, 'scene')} ({markdown(card.scenes_from)}), each alone and in padded "
        "batches.",
        "",
        f"Outputs differ from the trained model's by at most {parity.max_difference:.2g}"
        f"{labels if card.classes else ''}; tolerance {card.tolerance:g}.",
        *(f"**Refused, written with --force: {markdown(reason, REASON)}.**" for reason in card.failures),
        "",
        "## Cost",
        "",
        f"{_latency_line(card.latency)}, one thread, {card.machine}. {card.gmacs:.4f} GMACs for {rows} x {columns}.",
        "",
        "Made with " + ", ".join(f"{name} {number}" for name, number in card.versions.items()) + ".",
    ]) + "\n"  # fmt: skip


def _input_lines(spec: PictureInput) -> list[tuple[str, str, str]]:
    shape = f"(batch, rows, columns, {spec.width}) float32"
    where = "where the picture is: false in padding right and below, and everywhere if the scene lacks it"
    return [(spec.name, shape, WHAT[spec.kind]), (spec.mask, "(batch, rows, columns) bool", where)]


def _output_lines(card: PixelCard) -> list[str]:
    if card.target is not None:
        width = {"gray": 1, "depth": 1}.get(card.target, 3)
        return [f"Output: picture (batch, rows, columns, {width}) float32, {WHAT[card.target]}."]
    names = ", ".join(f"{i} {markdown(name)}" for i, name in enumerate(card.classes))
    return [
        f"Outputs: logits (batch, rows, columns, {len(card.classes)}) float32, and labels (batch, rows, columns) "
        f"int64, the likeliest class: {names}."
    ]


def _latency_line(latency: PixelLatency) -> str:
    what = f"One scene of {latency.rows} x {latency.columns}"
    if latency.median_ms is None or latency.spread_ms is None:
        return f"{what}: - ({latency.doubt}; export it again on a quiet machine)"
    time = f"{latency.median_ms:.2f} ms ± {latency.spread_ms:.2f}"
    return f"{what}: {time} (median of {latency.runs}, half the 10-90 % range)"
