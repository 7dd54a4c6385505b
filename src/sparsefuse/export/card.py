"""The card of an exported file: <name>.json for programs, <name>.md for people."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sparsefuse.config import Task
from sparsefuse.export.parity import Parity, ScoreChange
from sparsefuse.export.program import Input
from sparsefuse.export.runner import Latency
from sparsefuse.files.typed import write
from sparsefuse.files.whole import write_text
from sparsefuse.shown import REASON, counted, markdown, markdown_table

PACKAGES = ("sparsefuse", "torch", "onnx", "onnxscript", "onnxruntime")
TASKS: Mapping[Task, str] = {
    "class": "classification",
    "multilabel": "classification with several labels a clip",
    "heads": "classification by several types of label",
    "regression": "regression",
}


@dataclass(frozen=True)
class ExportCard:
    """The facts that a user of the file needs."""

    file: str
    format: str
    precision: str
    method: str
    task: Task
    labels: tuple[str, ...]
    heads: Mapping[str, int]
    calibrated: bool
    temperature: float
    inputs: list[Input]
    outputs: list[str]
    gmacs: float
    versions: Mapping[str, str]
    machine: str
    clips_from: str
    real_clips: bool
    tolerance: float
    parity: Parity
    """of the float32 graph"""
    scores: Mapping[str, ScoreChange]
    """by split"""
    failures: list[str]
    """why it should not be used"""
    latency: Latency
    bytes: int
    fp32_bytes: int
    int8: Parity | None = None
    opset: int | None = None
    """of ONNX"""
    runtime: str | None = None
    """the oldest ONNX Runtime that runs the file"""
    features_gmacs: Mapping[str, float] = field(default_factory=dict)
    """of the encoders that make a clip's features, which are not in the file: modality -> multiply-adds / 1e9"""


def machine() -> str:
    """Operating system and processor."""
    return f"{platform.system()} {platform.machine()}"


def write_card(path: Path, card: ExportCard) -> None:
    """Writes both beside the exported file `path`."""
    write_text(path.with_suffix(".md"), page(card))
    write(path.with_suffix(".json"), card)


def page(card: ExportCard) -> str:
    """The card for people."""
    size = f"{card.bytes / 1e3:.0f} kB"
    if card.int8:
        size += f" ({100 * card.bytes / card.fp32_bytes:.0f} % of the size in float32)"
    labels = f", of {', '.join(map(markdown, card.labels))}" if card.labels else ""
    latency = card.latency
    lines = [
        f"# {markdown(card.file)}",
        "",
        f"{markdown(card.method)} for {TASKS[card.task]}, as {card.format}, {card.precision}, {size}. "
        + (f"Temperature {card.temperature:.3g}." if card.calibrated else "Not calibrated."),
        "",
        markdown_table(
            [("input", "shape", "what"), *(line for spec in card.inputs for line in _input_lines(spec))], ["---"] * 3
        ),
        f"Outputs: {' and '.join(map(markdown, card.outputs))} (batch, {max(len(card.labels), 1)}){labels}.",
        *([f"Runs in ONNX Runtime {card.runtime} and later (opset {card.opset})."] if card.runtime else []),
        "",
        "## Agreement with the trained model",
        "",
        f"Checked on {counted(card.parity.clips, 'clip')} ({markdown(card.clips_from)}), each alone and in padded "
        "batches.",
        "",
        _parity_line("float32 graph" if card.int8 else "Graph", card.parity) + f"; tolerance {card.tolerance:g}.",
        *([_parity_line("int8", card.int8) + "."] if card.int8 else []),
        *(_score_line(split, score) for split, score in card.scores.items()),
        *(f"**Refused, written with --force: {markdown(reason, REASON)}.**" for reason in card.failures),
        "",
        "## Cost",
        "",
        f"{_latency_line(latency)}, one thread, {card.machine}.",
        f"{card.gmacs:.4f} GMACs for a typical clip, from features to logits.",
        *(
            f"Not in this file: the encoder that makes {markdown(name)}, {gmacs:.4g} GMACs a clip."
            for name, gmacs in sorted(card.features_gmacs.items())
        ),
        "",
        "Made with " + ", ".join(f"{name} {number}" for name, number in card.versions.items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def _input_lines(spec: Input) -> list[tuple[str, str, str]]:
    sees = f"; resampled or cut to {spec.tokens} tokens" if spec.tokens else ""
    if spec.kind == "sound":
        shape, what = "(batch, samples) float32", f"sound from -1 to 1, {spec.rate} samples a second"
    else:
        shape, what = f"(batch, tokens, {spec.width}) float32", f"{_made(spec.extract)}, not normalised"
    length = (spec.length, "(batch,) int64", "length without padding; 0 = the clip lacks it")
    return [(spec.name, shape, what + sees), length]


def _made(extract: Mapping[str, object] | None) -> str:
    """Who makes the features; every option of it is in the card for programs."""
    if extract is None:
        return "features as they were in training"
    model = f" {extract['model']}" if extract.get("model") else ""
    return markdown(f"features of {extract['source']} by the extractor {extract['extractor']}{model}")


def _parity_line(what: str, parity: Parity) -> str:
    return (
        f"{what}: logits differ from the trained model's by at most {parity.max_difference:.2g}; "
        f"{parity.same_labels} of {parity.clips} labels are the same"
    )


def _latency_line(latency: Latency) -> str:
    clip = ", ".join(f"{markdown(name)} {count}" for name, count in latency.clip.items())
    if latency.median_ms is None or latency.spread_ms is None:
        return f"One clip ({clip}): - ({latency.doubt}; export it again on a quiet machine)"
    busy = "" if latency.load is None else f", {latency.load:.1f} cores busy with other programs"
    time = f"{latency.median_ms:.2f} ms ± {latency.spread_ms:.2f}"
    return f"One clip ({clip}): {time} (median of {latency.runs}, half the 10-90 % range{busy})"


def _score_line(split: str, score: ScoreChange) -> str:
    trained, exported = f"{score.trained:.4f} as trained", f"{score.exported:.4f} as exported"
    return f"{markdown(score.metric)} on {split}, {score.clips} clips: {trained}, {exported}."
