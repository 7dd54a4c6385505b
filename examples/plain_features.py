"""What extractors compute, in numpy alone, to be ported to a program without sparsefuse.

    python plain_features.py model.json sound clip.wav sound.npy
    python plain_features.py model.json video frames.npy video.npy     # (T, height, width, colours) of 0 to 255
    python plain_features.py model.json wrist readings.npy wrist.npy   # (T, columns), evenly spaced
    python plain_features.py model.json words clip.txt words.npy

`model.json` is the card of an exported model: its `inputs` name each modality's extractor and options.
"""

import hashlib
import json
import re
import sys
import wave
from pathlib import Path

import numpy as np


def spectrogram(
    sound, *, rate=16000, bins=128, window=0.025, hop=0.010, difference=False, energy=False, context=0, every=1
):
    """Samples from -1 to 1, `rate` a second, to tokens (N, F): the log of power in mel bands, a token per hop."""
    length, stride = round(window * rate), round(hop * rate)
    before = (length - stride) // 2  # so that a token's window has its hop in the middle; zeros beyond the ends
    after = length - stride - before + max(0, stride - len(sound))
    sound = np.concatenate([np.zeros(before), sound, np.zeros(after)])
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / length)
    size = 1
    while size < length:  # of the Fourier transform: the next power of two, filled with zeros
        size *= 2
    starts = range(0, len(sound) - length + 1, stride)
    power = np.array([np.abs(np.fft.rfft(sound[start : start + length] * hamming, size)) ** 2 for start in starts])
    x = np.log(power @ mel_filters(rate, size, bins).T + 1e-6)
    parts = [x]
    if difference:
        parts.append(np.vstack([np.zeros_like(x[:1]), x[1:] - x[:-1]]))
    if energy:
        parts.append(np.log(np.exp(x).sum(1, keepdims=True)))
    x = np.hstack(parts)
    last = len(x) - 1
    near = range(-context, context + 1)
    return np.array([np.concatenate([x[min(max(n + k, 0), last)] for k in near]) for n in range(0, len(x), every)])


def mel_filters(rate, size, bins):
    """(bins, size / 2 + 1): triangles of area 1, evenly spaced on Slaney's mel scale from 0 Hz to half the rate."""

    def hertz(mel):  # 3 mel per 200 Hz up to 1000 Hz, then 27 mel for every factor of 6.4
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    half = rate / 2
    top = half * 3 / 200 if half < 1000 else 15 + 27 * np.log(half / 1000) / np.log(6.4)
    edges = [hertz(top * i / (bins + 1)) for i in range(bins + 2)]
    frequencies = np.arange(size // 2 + 1) * rate / size
    filters = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
        filters.append(np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low))
    return np.array(filters)


def frames(pixels, *, patch=None, difference=False, energy=False, centre=False, dtype="float32"):
    """Pixels (T, height, width, colours) of 0 to 255, of the size and at the rate of the options, to tokens (N, F).

    They are scaled by area; at a rate, token n is of the frame nearest to n / rate seconds. `size` and `gray` say what
    comes in here: without `rate`, `ffmpeg -i clip.mp4 -vf scale=32:32:flags=area,format=gray -f rawvideo` writes it.
    """
    x = pixels if dtype == "uint8" else pixels / 255
    if centre:
        x = x - x.mean(0)
    time, height, width, colours = x.shape
    down, right = (patch, patch) if patch else (height, width)  # patches row by row, each flattened row by row
    x = x.reshape(time, height // down, down, width // right, right, colours).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(time, -1, down * right * colours)  # (T, patches, F)
    change = np.concatenate([np.zeros_like(x[:1]), x[1:] - x[:-1]]) if difference or energy else None
    parts = [x]
    if difference:
        parts.append(change)
    if energy:
        parts.append((change**2).mean(2, keepdims=True))
    x = np.concatenate(parts, axis=2)
    return x.reshape(-1, x.shape[2])


def series(readings, *, rate=None, window=None, hop=None, norm=None, difference=False, contents=None):
    """Readings (T, columns), `rate` a second, in the options' order, to tokens (N, F): one a reading, or a window."""
    x = readings
    if norm:
        lengths = np.sqrt((x.reshape(len(x), -1, 3) ** 2).sum(2))
        x = lengths if norm == "only" else np.hstack([x, lengths])
    if difference:
        x = np.hstack([x, np.vstack([np.zeros_like(x[:1]), (x[1:] - x[:-1]) * rate])])
    if window is None:
        return x
    length = max(2, round(window * rate))
    stride = max(1, round((hop or window / 2) * rate))
    if len(x) < length:  # the last reading is repeated
        x = np.vstack([x, np.repeat(x[-1:], length - len(x), axis=0)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)
    tokens = []
    for start in range(0, len(x) - length + 1, stride):
        w = x[start : start + length]
        about = w - w.mean(0)
        rise = w[length - length // 2 :].mean(0) - w[: length // 2].mean(0)
        made = {
            "values": w.reshape(-1),  # reading by reading
            "statistics": np.concatenate([w.mean(0), w.std(0), w.min(0), w.max(0), rise]),
            "energy": np.log((about**2).mean(0) + 1e-12),
            # column by column, the amplitude at each frequency above 0
            "spectrum": (np.abs(np.fft.rfft(about.T * hann))[:, 1:] * 2 / hann.sum()).reshape(-1),
        }
        tokens.append(np.concatenate([made[content] for content in contents or ["statistics"]]))
    return np.array(tokens)


def text(words, *, hashed=256):
    """A text to tokens (N, hashed), one a word: hashes of the word between < and >, and of each three letters of it."""
    found = re.findall(r"[^\W_]+(?:'[^\W_]+)*", words.replace("\u2019", "'"))
    tokens = []
    for word in found:
        bounded = f"<{word.lower()}>"
        pieces = [bounded, *(bounded[i : i + 3] for i in range(len(bounded) - 2))]
        total = np.zeros(hashed)
        for piece in pieces:
            bits = hashlib.shake_128(piece.encode("utf-8")).digest((hashed + 7) // 8)
            total += [1 if bits[i // 8] >> (7 - i % 8) & 1 else -1 for i in range(hashed)]
        tokens.append(total / np.sqrt(len(pieces)))
    return np.array(tokens)


def read(path):
    """A .wav of 16 bits as the mean of its channels, from -1 to 1; a .npy as it is; anything else as text."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix != ".wav":
        return path.read_text(encoding="utf-8")
    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2:
            raise SystemExit(f"{path}: expected 16 bits a sample; convert it first")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return samples.mean(1) / 32768


if __name__ == "__main__":
    card, modality, source, out = sys.argv[1:]
    extractors = {"spectrogram": spectrogram, "frames": frames, "series": series, "text": text}
    given = {each["name"]: each["extract"] for each in json.loads(Path(card).read_text(encoding="utf-8"))["inputs"]}
    extractor = extractors[given[modality]["extractor"]]
    options = {name: value for name, value in given[modality].items() if name in (extractor.__kwdefaults__ or {})}
    np.save(out, extractor(read(Path(source)), **options).astype(np.float32))
