"""Draws an explanation over the clip's time: frames and sound, rollout, and the effect of masking."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.explain.explanation import Explanation
from sparsefuse.explain.footage import Footage
from sparsefuse.explain.pooled import Pooled
from sparsefuse.report.charts import NUM_COLOURS, Look

WIDTH = 7.2
STRIP = (6, 14)
"""fewest and most frames of the strip"""
MOST_CHANNELS = 9
GREY, HOT = (0.55, 0.56, 0.58), (0.88, 0.33, 0.08)
"""Colours of no attention and of most; both are visible on white and on black."""


class _Time(NamedTuple):
    """The axis that all panels share."""

    end: float
    """seconds, or 100 per cent"""
    covered: Mapping[str, float]
    lengths: Mapping[str, float]

    def whole(self, name: str) -> float:
        """Where a modality ends, its tokens or not."""
        return self.lengths.get(name, self.end)

    def edges(self, name: str, count: int) -> np.ndarray:
        """Where each of a modality's `count` equal parts begins, and the last ends."""
        return np.linspace(0, self.end * self.covered.get(name, 1.0), count + 1)


class _Panel(NamedTuple):
    """One row of the figure."""

    title: str
    height: float
    draw: Callable[[Any], None]


def draw(explanation: Explanation, footage: Footage, look: Look) -> Any:
    """The figure, one panel below the other."""
    from matplotlib.figure import Figure

    time = _Time(footage.seconds or 100, explanation.covered, footage.lengths)
    panels = _panels(explanation, footage, time, look)
    heights = [panel.height for panel in panels]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.36 * len(panels) + 0.3), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        axes.set_title(panel.title, loc="left", fontsize=10, color=look.ink)
        panel.draw(axes)
        axes.set_xlim(0, time.end)
    rows[-1].set_xlabel("seconds" if footage.seconds else "share of the clip, %")
    return figure


def _panels(explanation: Explanation, footage: Footage, time: _Time, look: Look) -> list[_Panel]:
    names = list(explanation.rollout)
    colours = {name: look.series[i % NUM_COLOURS] for i, name in enumerate(names)}
    even = sum(len(share) for share in explanation.rollout.values())  # a token's share times this is 1 on average
    panels = []
    if len(footage.frames):
        grid = next(((name, footage.grids[name]) for name in names if name in footage.grids), None)
        heat = None if grid is None else _over_patches(explanation.rollout[grid[0]].numpy(), grid[1])
        count = _strip_length(footage.frames)
        height = WIDTH / count * footage.frames.shape[1] / footage.frames.shape[2]
        title = "frames" if grid is None else f"frames, heat: rollout over the patches of {grid[0]}"
        panels.append(_Panel(title, height, partial(_strip, footage.frames, count, heat, footage.picture)))
    for name in names:
        share, stop = explanation.rollout[name].numpy() * even, time.edges(name, 1)[1]
        if name in footage.sounds:
            heat = partial(_spectrogram, footage.sounds[name], share, time.whole(name), stop)
            panels.append(_Panel(f"{name}: log-mel, brighter = more attention", 0.9, heat))
        if name in footage.signals:
            signal = partial(_signal, footage.signals[name], time.whole(name), look)
            panels.append(_Panel(f"{name}: signal, each channel on its own scale", 0.9, signal))
        grid, pools = footage.grids.get(name), explanation.pooled.get(name)
        over_time = share if grid is None else _over_patches(share, grid).mean((1, 2))
        title = f"{name}: rollout, 1 = an even share{'' if pools is None else '; line: pooled tokens'}"
        lines = [] if pools is None else [_pooled_line(pools, even, time.edges(name, len(share)))]
        curve = partial(_curve, over_time, time.edges(name, len(over_time)), lines, colours[name], look)
        panels.append(_Panel(title, 0.8, curve))
    for name in dict.fromkeys(name for layer in explanation.exchanged.values() for name in layer):
        rows = {layer: swapped[name].numpy() for layer, swapped in explanation.exchanged.items() if name in swapped}
        panels.append(_Panel(f"{name}: tokens exchanged, by layer", 0.12 * len(rows) + 0.2,
                             partial(_exchanged, rows, time.edges(name, 1)[1])))  # fmt: skip
    shares = partial(_shares, explanation, time, colours)
    panels.append(_Panel("rollout by window and modality, % of the clip", 1.0, shares))
    panels.append(_Panel(f"lost when a window is masked, {_unit(explanation)}; grey: within noise", 1.2,
                         partial(_occlusion, explanation, time, colours, look)))  # fmt: skip
    return panels


def _unit(explanation: Explanation) -> str:
    if not explanation.prediction.probabilities:
        return "in units of the number predicted"
    return f"points of the probability of {explanation.answer!r}"


def _strip_length(frames: np.ndarray) -> int:
    """As many frames as give a strip about 0.55 inch high."""
    _, height, width, _ = frames.shape
    return min(len(frames), max(STRIP[0], min(STRIP[1], round(WIDTH * height / width / 0.55))))


def _strip(frames: np.ndarray, count: int, heat: np.ndarray | None, end: float, axes: Any) -> None:
    """`count` frames, each at the middle of its stretch of time; `heat` (T', rows, columns) is laid over."""
    edges = np.linspace(0, end, count + 1)
    gap = 0.02 * edges[1]
    for i, (left, right) in enumerate(itertools.pairwise(edges)):
        extent = (left + gap, right - gap, 0, 1)
        frame = frames[(2 * i + 1) * len(frames) // (2 * count)]
        axes.imshow(frame, extent=extent, aspect="auto", interpolation="none")
        if heat is not None:
            part = heat[i * len(heat) // count : max(i * len(heat) // count + 1, (i + 1) * len(heat) // count)].mean(0)
            axes.imshow(_alpha(HOT, 0.75 * part / heat.max()), extent=extent, aspect="auto", interpolation="nearest")
    axes.set_ylim(0, 1)
    _bare(axes)


def _over_patches(share: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(N,) in order of time, row, column -> (T, rows, columns); a frame cut short is filled up with zeros."""
    size = grid[0] * grid[1]
    filled = np.pad(share, (0, -len(share) % size))
    return filled.reshape(-1, *grid)


def _spectrogram(sound: np.ndarray, share: np.ndarray, end: float, stop: float, axes: Any) -> None:
    """Log-mel (N, bins), time to the right: opacity is the power, colour the rollout of the tokens there."""
    low, high = np.quantile(sound, (0.05, 0.995))
    strength = ((sound.T - low) / max(high - low, 1e-6)).clip(0, 1)
    middle = (np.arange(len(sound)) + 0.5) / len(sound) * end
    token = np.minimum((middle / stop * len(share)).astype(int), len(share) - 1)
    heat = np.where(middle < stop, share[token] / share.max(), 0)[None, :, None]  # (1, N, 1)
    image = np.empty((*strength.shape, 4))
    image[..., :3] = np.array(GREY) * (1 - heat) + np.array(HOT) * heat
    image[..., 3] = strength
    axes.imshow(image, extent=(0, end, 0, sound.shape[1]), aspect="auto", origin="lower", interpolation="none")
    _bare(axes)


def _signal(values: np.ndarray, stop: float, look: Look, axes: Any) -> None:
    """Readings (N, C), a line for each of at most `MOST_CHANNELS` channels, one below the other."""
    at = (np.arange(len(values)) + 0.5) / len(values) * stop
    for channel, line in enumerate(values.T[:MOST_CHANNELS]):
        low, high = line.min(), line.max()
        axes.plot(at, 0.8 * (line - low) / max(high - low, 1e-9) - channel, color=look.ink, lw=0.7)
    _bare(axes)


def _pooled_line(pools: Pooled, even: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pooled token's share, spread over what it pools: so it is on the scale of its tokens' own."""
    start, stop = pools.start.numpy(), pools.stop.numpy()
    return pools.relevance.numpy() / (stop - start) * even, edges[np.append(start, stop[-1])]


def _curve(
    share: np.ndarray,
    edges: np.ndarray,
    lines: list[tuple[np.ndarray, np.ndarray]],
    colour: str,
    look: Look,
    axes: Any,
) -> None:
    axes.stairs(share, edges, fill=True, color=colour, alpha=0.45, lw=0)
    for values, between in lines:
        axes.stairs(values, between, color=colour, lw=1.3, baseline=None)
    axes.axhline(1, color=look.soft, lw=0.8, ls=(0, (4, 3)))
    axes.set_ylim(bottom=0)
    axes.grid(False, axis="x")


def _exchanged(rows: dict[int, np.ndarray], stop: float, axes: Any) -> None:
    image = _alpha(GREY, np.stack(list(rows.values())).astype(float))
    axes.imshow(image, extent=(0, stop, len(rows), 0), aspect="auto", interpolation="nearest")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [str(layer) for layer in rows], fontsize=6)
    axes.grid(False)


def _shares(explanation: Explanation, time: _Time, colours: dict[str, str], axes: Any) -> None:
    """Stacked: how much of the clip's rollout lies in a window, by modality."""
    count = max(len(part) for part in explanation.occlusion.windows.values())
    edges = np.linspace(0, time.end, count + 1)
    bottom = np.zeros(count)
    for name, share in explanation.rollout.items():
        top = bottom + 100 * _rebinned(share.numpy(), time.edges(name, len(share)), edges)
        axes.stairs(top, edges, baseline=bottom, fill=True, color=colours[name], alpha=0.6, lw=0, label=name)
        bottom = top
    axes.set_ylim(bottom=0)
    axes.grid(False, axis="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, borderpad=0, borderaxespad=0.3)


def _rebinned(values: np.ndarray, edges: np.ndarray, new_edges: np.ndarray) -> np.ndarray:
    """Amounts between `edges` as amounts between `new_edges`, evenly spread inside each."""
    return np.diff(np.interp(new_edges, edges, np.append(0, values.cumsum())))


def _occlusion(explanation: Explanation, time: _Time, colours: dict[str, str], look: Look, axes: Any) -> None:
    scale = 100 if explanation.prediction.probabilities else 1
    for name in explanation.occlusion.windows:
        drops = scale * explanation.occlusion.drops(name).numpy()
        edges = time.edges(name, len(drops))
        axes.stairs(drops, edges, fill=True, color=colours[name], alpha=0.25, lw=0)
        axes.stairs(drops, edges, color=colours[name], lw=1.5, baseline=None, label=name)
    noise = scale * max(explanation.occlusion.noise.values())
    axes.axhspan(-noise, noise, color=look.soft, alpha=0.18, lw=0)
    axes.axhline(0, color=look.soft, lw=0.8)
    axes.margins(y=0.1)
    least = 5.0 if scale == 100 else 0.05 * abs(explanation.occlusion.whole)  # a small effect must look small
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -least), max(high, least))


def _alpha(colour: tuple[float, ...], strength: np.ndarray) -> np.ndarray:
    """One colour as an image, as opaque as `strength` in [0, 1]."""
    image = np.empty((*strength.shape, 4))
    image[..., :3], image[..., 3] = colour, strength.clip(0, 1)
    return image


def _bare(axes: Any) -> None:
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0)
