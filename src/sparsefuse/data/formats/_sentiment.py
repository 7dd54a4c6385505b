"""How strong a sentiment is, a number, as the cells of a manifest."""

import math


def targets(value: float) -> dict[str, str]:
    """`label`, the papers' seven classes (-3 to 3, halves to the even number), and `sentiment`, the number itself;
    empty if it is not finite."""
    if not math.isfinite(value):
        return {"label": "", "sentiment": ""}
    return {"label": str(max(-3, min(3, round(value)))), "sentiment": f"{value:.6g}"}
