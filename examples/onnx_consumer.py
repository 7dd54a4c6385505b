"""Runs an exported model with numpy and onnxruntime alone; no sparsefuse, no torch.

    python onnx_consumer.py model.onnx picture=clip.npy sound=clip.wav

The card beside the model (`model.json`) says what goes in: features (N, F) as .npy, or a 16-bit .wav where the model
takes sound. A modality that is not given counts as missing.
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime


def read(path, given):
    """A .npy file of features, or the mono sound of a .wav file at the rate that the model wants."""
    if Path(path).suffix == ".npy":
        return np.load(path, allow_pickle=False).astype(np.float32)
    with wave.open(path) as file:
        if (file.getframerate(), file.getsampwidth()) != (given["rate"], 2):
            raise SystemExit(f"{path}: expected 16 bits at {given['rate']} Hz; convert it first")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return samples.mean(1).astype(np.float32) / 32768


model, files = sys.argv[1], dict(argument.split("=", 1) for argument in sys.argv[2:])
card = json.loads(Path(model).with_suffix(".json").read_text(encoding="utf-8"))
inputs = {}
for given in card["inputs"]:
    none = np.zeros((0,) if given["kind"] == "sound" else (0, given["width"]), np.float32)
    x = read(files.pop(given["name"]), given) if given["name"] in files else none
    inputs[given["length"]] = np.array([len(x)])
    inputs[given["name"]] = (x if len(x) else np.zeros((1, *none.shape[1:]), np.float32))[None]
if files:
    raise SystemExit(f"the model has no {', '.join(files)}; it takes {', '.join(g['name'] for g in card['inputs'])}")
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
shares = session.run(["probabilities"], inputs)[0][0]
for i in np.argsort(-shares)[:3]:
    print(f"{card['labels'][i]} {shares[i]:.4f}")
