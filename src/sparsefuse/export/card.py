"""What an exported file says of itself: <name>.json for programs, <name>.md for people."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparsefuse.cost import count
from sparsefuse.export.program import Program
from sparsefuse.export.runner import Latency
from sparsefuse.files.whole import write_json, write_text
from sparsefuse.inference.predictor import Predictor

_PACKAGES = ("sparsefuse", "torch", "onnx", "onnxscript", "onnxruntime")


def facts(program: Program, predictor: Predictor, method: str, typical: Mapping[str, int]) -> dict[str, Any]:
    """What a consumer must know: labels, inputs, outputs; and what the model is."""
    labels = program.labels
    return {
        "method": method,
        "task": labels.task,
        "labels": list(labels.classes),
        "heads": labels.heads,
        "calibrated": predictor.calibration is not None,
        "temperature": predictor.temperature,
        "inputs": [
            {
                "name": given.name,
                "length": given.tensors[1],
                "kind": given.kind,
                "width": given.width,
                "tokens": given.tokens,
                "rate": given.rate,
                "extract": predictor.extract.get(given.name),
            }
            for given in program.inputs
        ],
        "outputs": program.output_names,
        "gmacs": count.total(predictor.model, typical) / 1e9,
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def timed(latency: Latency, tokens: dict[str, int]) -> dict[str, Any]:
    """The time of one clip, as the card says it."""
    return {**latency._asdict(), "threads": 1, "batch": 1, "clip": tokens}


def write_card(path: Path, card: dict[str, Any]) -> Path:
    """Writes both beside the exported file `path`; returns the JSON's path."""
    write_text(path.with_suffix(".md"), markdown(card))
    write_json(path.with_suffix(".json"), card)
    return path.with_suffix(".json")


def markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    int8 = card["precision"] == "int8"
    size = f"{card['bytes'] / 1e3:.0f} kB"
    if int8:
        size += f", {card['bytes'] / card['fp32_bytes']:.2f} of float32's"
    labels = f", of {', '.join(card['labels'])}" if card["labels"] else ""
    clip = ", ".join(f"{name} {count}" for name, count in card["latency"]["clip"].items())
    latency = card["latency"]
    lines = [
        f"# {card['file']}",
        "",
        f"`{card['method']}` as {card['format']}, {card['precision']}, {size}. Task: {card['task']}. "
        + (f"Temperature {card['temperature']:.3g}." if card["calibrated"] else "Not calibrated."),
        "",
        "| input | shape | what |",
        "|---|---|---|",
        *(line for given in card["inputs"] for line in _input_lines(given)),
        "",
        f"Outputs: {' and '.join(card['outputs'])} (batch, {max(len(card['labels']), 1)}){labels}.",
        "",
        "## Is it what was trained?",
        "",
        f"Checked on {card['parity']['clips']} clips ({card['clips_from']}), each alone and in padded batches.",
        "",
        _parity_line("float32 graph" if int8 else "Graph", card["parity"]) + f"; tolerance {card['tolerance']:g}.",
        *([_parity_line("int8", card["int8"]) + "."] if int8 else []),
        *(_score_line(split, found) for split, found in card["scores"].items()),
        *(f"**Refused, written with --force: {reason}.**" for reason in card["failures"]),
        "",
        "## What it takes",
        "",
        f"One clip ({clip}): {latency['median_ms']:.2f} ms ± {latency['spread_ms']:.2f} (median of {latency['runs']}, "
        f"half the 10-90 % range), one thread, {card['machine']}.",
        f"{card['gmacs']:.4f} GMACs for a typical clip, from features on.",
        "",
        "Made with " + ", ".join(f"{name} {number}" for name, number in card["versions"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def _input_lines(given: dict[str, Any]) -> list[str]:
    sees = f"; the model sees {given['tokens']} tokens, whatever comes in" if given["tokens"] else ""
    if given["kind"] == "sound":
        shape, what = "(batch, samples) float32", f"sound from -1 to 1, {given['rate']} samples a second"
    else:
        shape, what = f"(batch, tokens, {given['width']}) float32", "features as extracted, not normalised"
    length = f"| {given['length']} | (batch,) int64 | how much of it is real; 0 = the clip lacks it |"
    return [f"| {given['name']} | {shape} | {what}{sees} |", length]


def _parity_line(what: str, found: dict[str, Any]) -> str:
    return (
        f"{what}: logits differ from the trained model's by at most {found['max_difference']:.2g}; "
        f"{found['same_labels']} of {found['clips']} labels are the same"
    )


def _score_line(split: str, found: dict[str, Any]) -> str:
    trained, exported = f"{found['trained']:.4f} as trained", f"{found['exported']:.4f} as exported"
    return f"{found['metric']} on {split}, {found['clips']} clips: {trained}, {exported}."


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
