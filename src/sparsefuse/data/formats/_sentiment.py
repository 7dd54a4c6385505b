"""How strong a sentiment is, a number, as the cells of a manifest."""


def targets(value: float) -> dict[str, str]:
    """`label`, the papers' seven classes (-3 to 3, halves to the even number), and `sentiment`, the number itself."""
    return {"label": str(max(-3, min(3, round(value)))), "sentiment": f"{value:.6g}"}
