"""The report: numbers by hand, hostile names, killed runs, and a page that needs no network."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from sparsefuse.report import read_runs, rich_table, summarise, table_markdown, write_csv, write_report

CLASSES = [f"{seen}+{heard}" for seen in ("across", "circle", "updown") for heard in ("chirp", "hum", "knock")]
# name: accuracy, GMACs, parameters, memory MB, ms
METHODS = {
    "sft": (0.962, 0.0123, 297_490, 12.3, 4.52),
    "concat": (0.955, 0.1240, 281_009, 64.8, 12.90),
    "mbt": (0.948, 0.1310, 402_113, 58.1, 15.31),
    "mult": (0.951, 0.3870, 512_870, 121.0, 33.40),
    "late": (0.941, 0.1170, 280_120, 60.2, 12.10),
    "unimodal (picture)": (0.331, 0.0101, 150_090, 8.1, 2.10),
    "unimodal (sound)": (0.327, 0.1050, 160_330, 51.0, 10.20),
}


def write_json_to(folder, name, value):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def write_run(folder, name="sft", seed=0, *, top1=0.9, classes=CLASSES, cost=None, epochs=12, **more):
    """One finished run folder of a class task whose confusion matrix has `top1` on its diagonal."""
    rng = np.random.default_rng([seed, len(name)])
    confusion = np.array([rng.multinomial(10, np.full(len(classes), (1 - top1) / len(classes))
                                          + top1 * np.eye(len(classes))[c]) for c in range(len(classes))])  # fmt: skip
    test = {"top1": top1, "top5": min(1, top1 + 0.03), "map": top1 - 0.01, "macro_f1": top1 - 0.005, "loss": 1 - top1}
    gmacs, parameters, memory, latency = cost or METHODS.get(name, METHODS["sft"])[1:]
    write_json_to(folder, "result.json", {
        "method": name.split()[0], "name": name, "seed": seed, "task": "class", "classes": classes, "data": "manifest",
        "best_epoch": epochs - 1, "seconds": 81.2, "valid": test, "test": test, "confusion": confusion.tolist(),
        "per_class_ap": rng.uniform(top1 - 0.1, 1, len(classes)).clip(0, 1).tolist(),
        "cost": {"gmacs": gmacs, "paper_gmacs": gmacs, "parameters": parameters, "memory_mb": memory,
                 "latency_ms": latency, "latency_spread_ms": latency / 15, "batch": 1},
        "splits": {"train": 216, "valid": 54, "test": 90}, "skipped": 0, **more})  # fmt: skip
    write_json_to(folder, "config.json", {"method": name.split()[0], "seed": seed, "train": {"epochs": epochs}})
    write_json_to(folder, "env.json", {"sparsefuse": "0.1.0", "torch": "2.13.0", "python": "3.11.9", "device": "cpu",
                                       "threads": 2, "commit": "88563ee", "seed": seed,
                                       "command": "sparsefuse compare configs/demo.yaml --seeds 0 1 2"})  # fmt: skip
    lines = [{"epoch": e, "lr": 1e-3, "train_loss": 2.2 * 0.75**e, "seconds": 6.1,
              "valid_loss": 2.2 * 0.8**e + rng.uniform(0, 0.1),
              "valid_top1": top1 * (1 - 0.6**e) + rng.normal(0, 0.01)} for e in range(1, epochs + 1)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_experiment(folder):
    """A realistic comparison: seven methods, three seeds, one killed run."""
    for name, (accuracy, *_) in METHODS.items():
        for seed in range(3):
            jitter = float(np.random.default_rng([seed, len(name), 7]).normal(0, 0.008))
            write_run(folder / f"{name.replace(' ', '-')}-{seed}", name, seed, top1=accuracy + jitter)
    skips = '{"id": "clip_0007", "modality": "sound", "reason": "no audio track (clips/clip_0007.mp4)"}\n'
    (folder / "mult-0" / "skipped.jsonl").write_text(skips)
    result = json.loads((folder / "mult-0" / "result.json").read_text())
    write_json_to(folder / "mult-0", "result.json", result | {"skipped": 1})
    write_json_to(folder / "locomt-0", "config.json", {"method": "locomt", "seed": 0})
    (folder / "locomt-0" / "metrics.jsonl").write_text('{"epoch": 1, "valid_loss": 1.0}\n{"epoch": 2, "val')
