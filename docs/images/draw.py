"""Draws the figures of README.md and docs/methods.md as SVG, in this folder: `python docs/images/draw.py`.

A figure is a function that places tokens, boxes and arrows on a `Drawing`. The README's figure is written once for a
light and once for a dark page; the others follow the page's colour scheme by themselves.
"""

from pathlib import Path

LIGHT = {"ink": "#1f2328", "faint": "#656d76", "line": "#8c959f", "box": "#f0f3f6", "a": "#0969da", "b": "#bc4c00"}
LIGHT |= {"both": "#8250df"}
DARK = {"ink": "#f0f6fc", "faint": "#9198a1", "line": "#656d76", "box": "#262c36", "a": "#4493f8", "b": "#f0883e"}
DARK |= {"both": "#ab7df8"}
TOKEN, STEP = 9, 12  # side of a token, and from one to the next
TOP, BOTTOM, MIDDLE = 48, 128, 88  # the rows of stream a, of stream b, and of what both share


class Drawing:
    """A picture of `width` x `height` that is built up mark by mark; `title` is what a screen reader says."""

    def __init__(self, title: str, width: int = 740, height: int = 176) -> None:
        self.title, self.width, self.height = title, width, height
        self.marks: list[str] = []

    def tokens(self, x: float, y: float, kinds: str) -> float:
        """A row of squares from `x`, centred on `y`; a letter each: a, b, x (both) or - (taken out). Gives its end."""
        for i, kind in enumerate(kinds):
            colour = {"a": "a", "b": "b", "x": "both", "-": "none"}[kind]
            at = f'x="{x + i * STEP:g}" y="{y - TOKEN / 2:g}" width="{TOKEN}" height="{TOKEN}" rx="2"'
            self.marks.append(f'<rect {at} class="{colour}"/>')
        return x + len(kinds) * STEP - (STEP - TOKEN)

    def box(self, x: float, y: float, width: float, height: float, *lines: str) -> float:
        """A box from `x`, centred on `y`, with lines of text in it. Gives its right edge."""
        at = f'x="{x:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="6"'
        self.marks.append(f'<rect {at} class="box"/>')
        for i, line in enumerate(lines):
            self.text(x + width / 2, y + 4 + 16 * (i - (len(lines) - 1) / 2), line)
        return x + width

    def text(self, x: float, y: float, text: str, kind: str = "ink", anchor: str = "middle") -> None:
        self.marks.append(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{text}</text>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, *, both_ways: bool = False) -> None:
        start = ' marker-start="url(#tip)"' if both_ways else ""
        self.marks.append(f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="line" marker-end="url(#tip)"{start}/>')

    def arc(self, x1: float, x2: float, y: float) -> None:
        """Attention between two tokens whose upper edges are at `y`."""
        lift = min(4 + abs(x2 - x1) / 2.4, 44)
        self.marks.append(f'<path d="M{x1:g} {y:g}Q{(x1 + x2) / 2:g} {y - lift:g} {x2:g} {y:g}" class="line thin"/>')

    def svg(self, rules: str) -> str:
        """The file, with colours from the CSS `rules`."""
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        tip += ' orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" class="tip"/></marker>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{self.title}</title>'
        return "\n".join([head, f"<style>{rules}</style><defs>{tip}</defs>", *self.marks, "</svg>", ""])


def rules(colours: dict[str, str]) -> str:
    """CSS for the classes of a drawing's marks."""
    filled = "".join(f".{name}{{fill:{colours[name]}}}" for name in ("a", "b", "both", "ink", "faint"))
    none = f".none{{fill:none;stroke:{colours['line']};stroke-dasharray:2 2}}"
    lines = f".line{{stroke:{colours['line']};stroke-width:1.5;fill:none}}.thin{{stroke-width:1}}"
    boxes = f".box{{fill:{colours['box']};stroke:{colours['line']}}}.tip{{fill:{colours['line']}}}"
    return f"text{{font:13px system-ui,sans-serif}}.faint{{font-size:12px}}{filled}{none}{lines}{boxes}"


def idea() -> Drawing:
    """SFT's idea, for the README; narrow, so that a phone shows it legibly."""
    title = "Each stream attends sparsely and is pooled to a few tokens; only those few are fused, all with all."
    draw = Drawing(title, 540, 216)
    count = 13
    for y, kind, name in ((88, "a", "video"), (160, "b", "sound")):
        draw.text(4, y + 4, name, anchor="start")
        end = draw.tokens(50, y, kind * count)
        for i in range(0, count - 2, 3):  # windows of neighbours, and one long reach
            draw.arc(54 + i * STEP, 54 + (i + 2) * STEP, y - 6)
        draw.arc(54, 54 + (count - 1) * STEP, y - 6)
        draw.arrow(end + 6, y, 254, y)
        draw.text(230, y - 8, "pool", "faint")
        draw.tokens(264, y, kind * 4)
        draw.arrow(316, y, 348, 124 + (y - 124) * 0.4)
    draw.box(354, 124, 84, 76)
    for row in range(2):
        draw.tokens(373.5, 111 + 26 * row, "ab"[row] * 4)
    for i in range(4):
        for j in range(4):
            x1, x2 = 378 + i * STEP, 378 + j * STEP
            draw.marks.append(f'<path d="M{x1:g} 116.5L{x2:g} 131.5" class="line thin"/>')
    draw.arrow(442, 124, 470, 124)
    draw.text(476, 128, "applause", anchor="start")
    for x, lines in (
        (128, ("1. Many tokens, each", "attends to a few others")),
        (287, ("2. A few", "are kept")),
        (396, ("3. Only these are", "fused, all with all")),
    ):
        draw.text(x, 20, lines[0])
        draw.text(x, 37, lines[1])
    draw.text(270, 206, "Fusing all tokens of all streams would cost the square of their number.", "faint")
    return draw


def _streams(draw: Drawing, a: str = "a" * 10, b: str = "b" * 10) -> float:
    """The two streams that every method begins with; gives where they end."""
    draw.text(8, TOP + 4, "video", anchor="start")
    draw.text(8, BOTTOM + 4, "sound", anchor="start")
    draw.tokens(52, BOTTOM, b)
    return draw.tokens(52, TOP, a)


def _each(draw: Drawing, x: float, width: float, *lines: str) -> float:
    """A box with an arrow into it in the row of each stream; gives where they end."""
    for y in (TOP, BOTTOM):
        draw.arrow(x + 6, y, x + 26, y)
        end = draw.box(x + 30, y, width, 44, *lines)
    return end


def _meet(draw: Drawing, x: float, what: str, width: float = 64) -> None:
    """Both rows go into one box in the middle, and from there to the label."""
    draw.arrow(x + 4, TOP, x + 36, MIDDLE - 8)
    draw.arrow(x + 4, BOTTOM, x + 36, MIDDLE + 8)
    _label(draw, draw.box(x + 40, MIDDLE, width, 36, what))


def _label(draw: Drawing, x: float, y: float = MIDDLE) -> None:
    draw.arrow(x + 4, y, x + 26, y)
    draw.text(x + 32, y + 4, "label", anchor="start")


def concat() -> Drawing:
    draw = Drawing("concat: all tokens of all streams in one sequence go through dense layers.")
    x = _streams(draw)
    for y in (TOP, BOTTOM):
        draw.arrow(x + 6, y, x + 36, MIDDLE + (y - MIDDLE) * 0.25)
    x = draw.tokens(x + 44, MIDDLE, "a" * 10 + "b" * 10)
    draw.arrow(x + 6, MIDDLE, x + 24, MIDDLE)
    _label(draw, draw.box(x + 28, MIDDLE, 132, 96, "12 dense layers,", "all with all"))
    return draw


def late() -> Drawing:
    draw = Drawing("late: each stream has layers of its own, and the logits are summed.")
    _meet(draw, _each(draw, _streams(draw), 150, "12 layers"), "sum")
    return draw


def unimodal() -> Drawing:
    draw = Drawing("unimodal: one stream alone; the others are not read.")
    x = _streams(draw, b="-" * 10)
    draw.arrow(x + 6, TOP, x + 26, TOP)
    _label(draw, draw.box(x + 30, TOP, 150, 44, "12 layers"), TOP)
    draw.text(x + 30, BOTTOM + 4, "not read", "faint", "start")
    return draw


def mbt() -> Drawing:
    draw = Drawing("mbt: streams meet in four bottleneck tokens only, in the last layers.")
    x = _each(draw, _each(draw, _streams(draw), 84, "8 layers"), 96, "4 layers")
    middle = x - 48
    draw.tokens(middle - 22, MIDDLE, "xxxx")
    for x2 in (middle - 10, middle + 10):
        up = x2 > middle
        for y, edge in ((TOP + 23, MIDDLE - 7), (BOTTOM - 23, MIDDLE + 7)):
            draw.arrow(x2, *((edge, x2, y) if up else (y, x2, edge)))
    draw.text(middle - 30, MIDDLE + 4, "bottleneck", "faint", "end")
    _meet(draw, x, "mean")
    return draw


def mult() -> Drawing:
    draw = Drawing("mult: every stream reads every other stream, then goes through layers of its own.")
    start = _streams(draw)
    for y, other, text in ((TOP, BOTTOM, "video reads sound"), (BOTTOM, TOP, "sound reads video")):
        draw.arrow(start + 6, y, start + 42, y)
        draw.arrow(start + 6, other, start + 42, y + (other - y) * 0.2)
        draw.box(start + 46, y, 128, 44, text, "5 layers")
    x = _each(draw, start + 174, 72, "5 layers")
    _meet(draw, x, "head")
    return draw


def locomt() -> Drawing:
    draw = Drawing("locomt: in the last layers each attention head reads its own stream or one other.")
    x = _each(draw, _streams(draw), 84, "8 layers")
    for y, own, kinds in ((TOP, "a", "aaaxx"), (BOTTOM, "b", "bbbxx")):
        draw.arrow(x + 6, y, x + 26, y)
        draw.box(x + 30, y, 128, 44)
        draw.tokens(x + 66, y - 8, kinds.replace("a", own))
        draw.text(x + 94, y + 15, "5 heads, 4 layers", "faint")
    draw.arrow(x + 112, TOP + 24, x + 112, BOTTOM - 24, both_ways=True)
    draw.text(x + 104, MIDDLE + 4, "these heads cross", "faint", "end")
    _meet(draw, x + 158, "mean")
    return draw


def sft() -> Drawing:
    draw = Drawing("sft: each stream attends sparsely, is pooled to a few tokens, and only those are fused.")
    x = _streams(draw)
    x = _each(draw, x, 124, "1 layer, then", "sparse attention")
    for y, kind in ((TOP, "a"), (BOTTOM, "b")):
        draw.arrow(x + 6, y, x + 46, y)
        draw.text(x + 25, y - 7, "pool", "faint")
        draw.tokens(x + 54, y, kind * 3)
        draw.arrow(x + 94, y, x + 116, MIDDLE + (y - MIDDLE) * 0.25)
    x = draw.tokens(x + 122, MIDDLE, "aaabbb")
    draw.arrow(x + 4, MIDDLE, x + 20, MIDDLE)
    _label(draw, draw.box(x + 24, MIDDLE, 124, 96, "11 dense layers,", "all with all"))
    return draw


def tokenfusion() -> Drawing:
    draw = Drawing(
        "tokenfusion: tokens that score low are replaced by the other stream's of the same time, layer by layer."
    )
    x = _streams(draw)
    for y, kinds in ((TOP, "aabaaabbaa"), (BOTTOM, "bbbabbbbab")):
        draw.arrow(x + 6, y, x + 26, y)
        draw.box(x + 30, y, 236, 44)
        draw.tokens(x + 44, y, kinds)
        draw.text(x + 254, y + 4, "in 12 layers", "faint", "end")
    draw.arrow(x + 72, BOTTOM - 8, x + 72, TOP + 8)
    draw.arrow(x + 84, TOP + 8, x + 84, BOTTOM - 8)
    draw.text(x + 98, MIDDLE + 4, "replaces tokens that score low", "faint", "start")
    _meet(draw, x + 266, "weighted sum", 100)
    return draw


def main() -> None:
    """Writes every figure."""
    here = Path(__file__).parent
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        (here / f"idea-{name}.svg").write_text(idea().svg(rules(colours)), encoding="utf-8")
    follows = f"{rules(LIGHT)}@media (prefers-color-scheme:dark){{{rules(DARK)}}}"
    for figure in (concat, late, locomt, mbt, mult, sft, tokenfusion, unimodal):
        (here / f"{figure.__name__}.svg").write_text(figure().svg(follows), encoding="utf-8")


if __name__ == "__main__":
    main()
