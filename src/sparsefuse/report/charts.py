"""Draws numbers as inline SVG figures.

The colours in the SVG are CSS variables of the page (--ink, --soft, --line, --c0 ... --c7), so that one figure
serves light and dark. Text stays text: it can be selected, and takes the page's font.
"""

import functools
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from sparsefuse.files.whole import replacing

NUM_COLOURS = 8
P = ParamSpec("P")

# Placeholder colours for matplotlib; `_svg` replaces them by the page's variables.
_INK, _SOFT, _LINE, _PAGE = "#010101", "#020202", "#030303", "#040404"
_SERIES = [f"#0505{i:02x}" for i in range(NUM_COLOURS)]
_VARIABLES = {_INK: "--ink", _SOFT: "--soft", _LINE: "--line", _PAGE: "--page"} | {
    colour: f"--c{i}" for i, colour in enumerate(_SERIES)
}
# A heat map is a raster image and cannot use a variable: one blue that is visible on white and on black.
_HEAT = (0.22, 0.45, 0.72)
_FAINT = 0.6
"""Opacity is the share to this power: at its own value, a tenth could not be seen on a dark page."""
_ON_HEAT = 0.8
"""Shares above it are opaque enough for white figures; below it, the page's ink is read better, dark or light."""


class Look(NamedTuple):
    """The colours of a figure."""

    ink: str
    soft: str
    line: str
    page: str
    series: list[str]


STAND_INS = Look(_INK, _SOFT, _LINE, _PAGE, _SERIES)


class Point(NamedTuple):
    """One method in the plot of accuracy against cost."""

    name: str
    cost: float
    value: float
    error: float | None
    """Standard deviation over seeds; None for one seed."""
    series: int
    """The method's place in the table, which sets its colour in all figures."""


class Curve(NamedTuple):
    """Means and standard deviations over x."""

    x: list[float]
    mean: list[float]
    std: list[float]


def _styled(draw: Callable[P, Any]) -> Callable[P, str]:
    """Runs `draw` in the page's style and returns its figure as SVG. (Defined first: it is a decorator.)"""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> str:
        with _style(STAND_INS, salt=draw.__name__):
            return _svg(draw(*args, **kwargs))

    return styled


def _style(look: "Look", *, salt: str = "") -> Any:
    """The page's style, in the colours given."""
    import matplotlib as mpl

    style: dict[Any, Any] = {
        "font.size": 9, "text.parse_math": False, "text.color": look.ink,
        "axes.edgecolor": look.line, "axes.labelcolor": look.soft, "axes.facecolor": "none", "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": look.line, "grid.linewidth": 0.6, "xtick.color": look.line, "ytick.color": look.line,
        "xtick.labelcolor": look.soft, "ytick.labelcolor": look.soft, "figure.facecolor": "none",
        # Text stays text. The salt makes ids the same on every run; on one page figures share an id only with a
        # shape that is the same.
        "svg.fonttype": "none", "svg.hashsalt": salt,
    }  # fmt: skip
    return mpl.rc_context(style)


def svg(draw: "Callable[[Look], Any]", salt: str) -> str:
    """A figure as SVG for a page; `draw` gets the placeholder colours."""
    with _style(STAND_INS, salt=salt):
        return _svg(draw(STAND_INS))


def png(draw: "Callable[[Look], Any]", path: str | Path) -> None:
    """The same figure as a PNG file, in the page's light colours."""
    look = light()
    with _style(look), replacing(path) as temporary:
        draw(look).savefig(temporary, format="png", dpi=160, facecolor=look.page)


class TradeOff(NamedTuple):
    """Accuracy against a cost on a log axis, with the Pareto front: the methods that no other beats in both."""

    points: list[Point]
    """a point without a name stays small"""
    ylabel: str
    xlabel: str = "GMACs per sample (one multiply-add = 1), log scale"
    higher_is_better: bool = True
    limit: float | None = None
    """drawn as a line"""

    def figure(self) -> Any:
        """As a matplotlib figure, in the page's light colours; a notebook shows it."""
        look = light()
        with _style(look):
            figure = self.draw(look)
        figure.set_facecolor(look.page)
        figure._repr_png_ = functools.partial(_png, figure)  # it has no pyplot, whose notebook backend would show it
        return figure

    def draw(self, look: Look) -> Any:
        """In these colours."""
        figure, (axes,) = _figure(7.2, 4.2, 1)
        sign = 1 if self.higher_is_better else -1
        front = [self.points[i] for i in pareto_front([(p.cost, sign * p.value) for p in self.points])]
        axes.set_xscale("log")
        axes.plot([p.cost for p in front], [p.value for p in front], color=look.soft, lw=1, ls=(0, (4, 3)))
        for point in self.points:
            colour = look.series[point.series % NUM_COLOURS]
            error = None if point.error is None else [point.error]
            axes.errorbar(point.cost, point.value, yerr=error, color=colour, lw=1.4, capsize=3, zorder=3)
            axes.plot(point.cost, point.value, "o", color=colour, ms=7 if point.name else 4, zorder=3, clip_on=False)
        _pad(axes, self.points)
        _end_at_100(axes, self.ylabel)
        if self.limit is not None:
            axes.axvline(self.limit, color=look.soft, lw=1)
        axes.set_xlabel(self.xlabel)
        axes.set_ylabel(self.ylabel)
        _label_points(figure, axes, self.points, front, look)
        return figure

    def svg(self) -> str:
        """As SVG for a page."""
        return svg(self.draw, salt="trade_off")


def _png(figure: Any) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


@_styled
def learning(panels: dict[str, dict[str, list[list[float]]]], names: list[str]) -> Any:
    """One panel per quantity: {title: {method: one list of values per seed}}; mean and band of one deviation.

    `names` are all methods in the table's order, which sets their colours.
    """
    figure, all_axes = _figure(7.2, 3.0, len(panels))
    for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
        for name, seeds in curves.items():
            look = _look(name, names)
            # Seeds may have stopped at different epochs: only epochs that all of them reached have a mean.
            values = np.array([seed[: min(map(len, seeds))] for seed in seeds])
            epochs, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
            marker = "o" if len(epochs) == 1 else None
            axes.plot(epochs, mean, lw=1.6, marker=marker, label=name, **look)
            if len(values) > 1:
                std = values.std(0, ddof=1)
                axes.fill_between(epochs, mean - std, mean + std, color=look["color"], alpha=0.15, lw=0)
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
        _end_at_100(axes, title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


@_styled
def confusion(shares: np.ndarray, classes: list[str]) -> Any:
    """Shares of each true class (rows) predicted as each class (columns), in [0, 1]."""
    num_classes = len(classes)
    side = max(4.1, 1.6 + 0.26 * num_classes) if num_classes <= 40 else 4.1
    figure, (axes,) = _figure(side, side - 0.2, 1)
    heat = np.empty((*shares.shape, 4))
    heat[..., :3], heat[..., 3] = _HEAT, shares.clip(0, 1) ** _FAINT
    axes.imshow(heat, interpolation="nearest")
    axes.grid(False)
    if num_classes <= 12:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "white" if share > _ON_HEAT else _INK
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    if num_classes <= 40:
        names = [name if len(name) <= 18 else f"{name[:17]}…" for name in classes]
        axes.set_xticks(range(num_classes), names, rotation=90, fontsize=9)
        axes.set_yticks(range(num_classes), names, fontsize=9)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_xlabel("predicted, % of the true class")
    axes.set_ylabel("true")
    return figure


@_styled
def lines(
    panels: dict[str, dict[str, Curve]],
    names: list[str],
    *,
    xlabel: str,
    ylabel: str,
    powers_of_two: bool = False,
    legend: bool = False,
) -> Any:
    """One panel per title, curves by name with bars of one deviation; `names` in order set their colours.

    A page has a legend of its own; a figure outside a page needs `legend`.
    """
    figure, all_axes = _figure(7.2, 3.1, len(panels))
    for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
        for name, curve in curves.items():
            look = {"marker": "o", "ms": 4, "lw": 1.5, "capsize": 2, "label": name, **_look(name, names)}
            axes.errorbar(curve.x, curve.mean, yerr=curve.std, **look)
        if powers_of_two:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
        axes.set_xlabel(xlabel)
        _end_at_100(axes, ylabel)
    all_axes[0].set_ylabel(ylabel)
    if legend:
        figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


@_styled
def reliability(curves: dict[str, tuple[list[float], list[float]]], names: list[str]) -> Any:
    """Accuracy against confidence, one line per method; on the diagonal a model is calibrated."""
    figure, (axes,) = _figure(4.4, 4.0, 1)
    axes.plot([0, 1], [0, 1], color=_SOFT, lw=1, ls=(0, (4, 3)))
    for name, (confidence, accuracy) in curves.items():
        axes.plot(confidence, accuracy, marker="o", ms=3.5, lw=1.3, **_look(name, names))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    return figure


def standalone(svg: str) -> str:
    """A figure as a separate SVG file: with the page's light colours in place of its variables."""
    colours = _light_colours()
    svg = re.sub(r"var\((--\w+)\)", lambda match: colours.get(match[1], "sans-serif"), svg)
    return svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"', 1)


def light() -> Look:
    """The page's light colours."""
    colours = _light_colours()
    series = [colours[f"--c{i}"] for i in range(NUM_COLOURS)]
    return Look(colours["--ink"], colours["--soft"], colours["--line"], colours["--page"], series)


def _light_colours() -> dict[str, str]:
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return dict(re.findall(r"(--\w+): (#\w+);", style.split("@media")[0]))


def pareto_front(points: list[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other beats in one and matches in the other, cheapest first."""
    front, best = [], -np.inf
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            front.append(i)
            best = points[i][1]
    return front


def _look(name: str, names: list[str]) -> dict[str, str]:
    """Colour and dashes of a line, by its place among all names."""
    place = names.index(name)
    return {"color": _SERIES[place % NUM_COLOURS], "ls": "-" if place < NUM_COLOURS else "--"}


def _figure(width: float, height: float, columns: int) -> tuple[Any, list[Any]]:
    """A figure without pyplot, which would keep it and load a window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _pad(axes: Any, points: list[Point]) -> None:
    """Room around the points for their labels, and plain numbers on the log axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = min(p.cost for p in points), max(p.cost for p in points)
    margin = max((high / low) ** 0.15, 1.8)
    axes.set_xlim(low / margin, high * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.15)


def _end_at_100(axes: Any, unit: str) -> None:
    """No axis of shares goes below 0 or above 100 %, whatever its margins."""
    if unit.endswith("%"):
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 100))


def _label_points(figure: Any, axes: Any, points: list[Point], front: list[Point], look: Look) -> None:
    """Writes each name beside its point, at the first of many places where it covers no point, bar, line or name."""
    figure.draw_without_rendering()  # the layout must be final before sizes in pixels mean anything
    corners = axes.transData.transform([(p.cost, p.value) for p in front])
    steps = np.linspace(0, 1, 60)[:, None]
    line = [a + steps * (b - a) for a, b in itertools.pairwise(corners)]
    taken = [(x - 2, y - 2, x + 2, y + 2) for segment in line for x, y in segment]
    for p in points:
        (x, low), (_, high) = axes.transData.transform(
            [(p.cost, p.value - (p.error or 0)), (p.cost, p.value + (p.error or 0))]
        )
        taken.append((x - 6, low - 6, x + 6, high + 6))
    frame = axes.get_window_extent()
    places = [(r * np.cos(a), r * np.sin(a)) for r in (11, 16, 24, 34, 48) for a in np.pi / 8 * np.array(_ANGLES)]
    # From the right: of points in a bunch, the rightmost then has its name on its right.
    for point in sorted((p for p in points if p.name), key=lambda point: -point.cost):
        name, at = point.name, (point.cost, point.value)
        colour = look.series[point.series % NUM_COLOURS]
        text = axes.annotate(name, at, xytext=(0, 0), textcoords="offset points", color=colour)
        for place in places:
            text.xyann = place
            text.set_ha("left" if place[0] > 1 else "right" if place[0] < -1 else "center")
            text.set_va("center" if abs(place[1]) < 6 else "bottom" if place[1] > 0 else "top")
            box = text.get_window_extent().extents
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
            if inside and not any(_overlap(box, other) for other in taken):
                break
        taken.append(tuple(text.get_window_extent().extents))


# In eighths of a half turn: right first, then above, left, below, and the diagonals.
_ANGLES = (0, 4, 8, 12, 2, 14, 6, 10, 1, 15, 7, 9)


def _overlap(a: Any, b: Any) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _svg(figure: Any) -> str:
    """The figure as an SVG element for an HTML page: no XML header, no metadata, the page's colours and font."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<g|<svg)((?: [\w:]+="[^"]*")*?) id="[^"]*"', r"\1\2", text)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    points = float(re.findall(r'<svg[^>]*? width="([\d.]+)pt"', text)[0])
    wide = f'role="img" style="--wide: {1.2 * points:.0f}px"'  # 9 points of a label are 11 pixels then
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf"\1 {wide}", text, count=1)
    text = re.sub(r"(font: [\d.]+px |font-family: )'DejaVu Sans'[^;\"<>]*", r"\1var(--sans)", text)
    return re.sub("|".join(_VARIABLES), lambda match: f"var({_VARIABLES[match[0]]})", text)
