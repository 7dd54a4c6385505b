"""The card of a run on pictures: what model.json says in, what is said of it out."""

import json
import shlex

from sparsefuse.config.pixels import PictureStream
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.sharing.said import Said
from sparsefuse.shown import markdown

_WHAT = {"color": "color", "gray": "gray", "depth": "depth", "normal": "normals"}


def of_pictures(facts: PixelFacts, source: str) -> Said:
    """What differs from the card of a run on clips."""
    streams = ", ".join(markdown(name) for name in sorted(facts.streams))
    what, gives = "gives a class to every pixel", "gives each pixel one of the classes above"
    if facts.task == "translate":
        what = gives = f"makes a picture ({_read(facts.target)})"
    rows, columns = facts.size
    return Said(
        sample="scene",
        what=f"A model of pictures of one place with the streams {streams}, by the method {markdown(facts.method)} of "
        f"sparsefuse, which {what}.",
        size=f"of {rows} x {columns} pixels (rows x columns)",
        inputs=_inputs(facts),
        outputs_title="Classes" if facts.classes else "Picture",
        outputs=_outputs(facts),
        trained_on="Scenes",
        use=_use(facts, source),
        limits=[
            f"Meant for scenes like those of its data; of any other it {gives}, too.",
            "The scores hold for the scenes they were measured on. Other cameras, sensors and places may differ.",
        ],
    )


def _read(stream: PictureStream) -> str:
    if stream.kind != "depth":
        return _WHAT[stream.kind]
    if not stream.unit:
        return "depth, whole numbers are millimetres, fractions metres"
    return f"depth, one step of a picture is {stream.unit:g} m"


def _inputs(facts: PixelFacts) -> str:
    rows = ["| stream | picture |", "|:--|:--|"]
    rows += [f"| {markdown(name)} | {_read(facts.stream(name))} |" for name in sorted(facts.streams)]
    size = f" All are resized to {facts.height} x {facts.width}." if facts.height else ""
    return (
        "\n".join(rows)
        + f"\n\nPictures of a scene have one size.{size} Any subset of the streams works; what is missing "
        "is named in the answer."
    )


def _outputs(facts: PixelFacts) -> str:
    if facts.classes:
        names = ", ".join(f"{number} {markdown(name)}" for number, name in enumerate(facts.classes))
        return f"{len(facts.classes)} classes: {names}."
    near, far = facts.depths
    between = f", from {near:.3g} to {far:.3g} m in training" if facts.target.kind == "depth" else ""
    return f"A picture as large as those it is shown: {_read(facts.target)}{between}."


def _use(facts: PixelFacts, source: str) -> str:
    names = sorted(facts.streams)
    files = " ".join(shlex.quote(f"{name}={name}.png") for name in names)
    scene = ", ".join(f"{json.dumps(name)}: {json.dumps(name + '.png')}" for name in names)
    shown = "prediction.shares" if facts.classes else "prediction.picture.shape"
    return (
        f"```sh\npip install sparsefuse && sparsefuse pull {source} model\nsparsefuse predict model {files} --out "
        f"predicted\n```\n\n```python\nimport sparsefuse\n\nprediction = "
        f'sparsefuse.load("model").predict({{{scene}}})\nprint({shown})\n```\n\n'
        "The weights are safetensors, all else is JSON: loading executes no code of this repository."
    )
