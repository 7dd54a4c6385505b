"""The model card: a run folder in, Markdown with the hub's header out. Every number is from the run's own files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.data.labels import Labels
from sparsefuse.features import PLACE
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.records import Change, Environment, ModelFacts, Result
from sparsefuse.runs.summary import MAIN_METRIC, metric, metric_names, spread
from sparsefuse.sharing.facts import facts_of
from sparsefuse.sharing.pixels.said import of_pictures
from sparsefuse.sharing.said import Said
from sparsefuse.shown import REASON, counted, markdown

NOT_STATED = "not stated"


def card(run: Path, *, title: str, source: str, license: str | None, data: str | None) -> str:
    """The card of `run`. `title` is its name; `source` is the argument of `sparsefuse pull`; `data` is a sentence on
    the training data."""
    folder = RunFolder(run)
    facts, result = facts_of(folder), folder.get(Result)
    said = of_pictures(facts, source) if isinstance(facts, PixelFacts) else _of_clips(facts, result, source)
    parts = [
        _header(facts.method, license),
        f"# {markdown(title)}",
        said.what,
        "## Results\n\n" + _results(folder, result, said.sample),
        "## Cost\n\n" + _cost(result, folder.get(Environment), said),
        "## Inputs\n\n" + said.inputs,
        f"## {said.outputs_title}\n\n" + said.outputs,
        "## Data\n\n" + _data(result, data, said.trained_on),
        "## Use\n\n" + said.use,
        "## Intended use and limits\n\n" + _limits(result, said),
        f"## Licence\n\n{markdown(license) if license else NOT_STATED}",
    ]
    return "\n\n".join(parts) + "\n"


def _of_clips(facts: ModelFacts, result: Result | None, source: str) -> Said:
    lengths = result.cost.lengths if result else {}
    tuned = facts.finetuned_from is not None
    return Said(
        sample="clip",
        what=_what(facts),
        size=f"of typical length ({', '.join(f'{markdown(name)} {count}' for name, count in lengths.items())} tokens)",
        inputs=_inputs(facts),
        outputs_title="Labels",
        outputs=_labels(facts.labels),
        trained_on="Clips that it was adapted to and tested on" if tuned else "Clips",
        use=_use(source, facts),
        limits=[
            "Meant for clips like those of its data, with the labels above; other clips get one of these labels too.",
            "The scores hold for the clips they were measured on. Other people, devices and places may differ.",
        ],
        origin="It was adapted to one user's clips; the scores of the model it came from do not hold for it."
        if tuned
        else "",
    )


def _header(method: str, license: str | None) -> str:
    """The YAML header that the hub reads; strings are written as JSON, which is valid YAML."""
    lines = ["library_name: sparsefuse", "tags: [sparsefuse, multimodal, " + json.dumps(method) + "]"]
    if license:
        lines.insert(0, f"license: {json.dumps(license)}")
    return "\n".join(["---", *lines, "---"])


def _what(facts: ModelFacts) -> str:
    task = {
        "class": "one class per clip",
        "multilabel": "any number of classes per clip",
        "heads": "one class in each of several heads",
        "regression": "a number per clip",
    }[facts.labels.task]
    origin = facts.finetuned_from
    text = f"A classifier of clips with the streams {_join(sorted(facts.features))}, by the method "
    text += f"{markdown(facts.method)} of sparsefuse: {task}."
    if origin:
        clips = counted(origin.clips.count, "clip")
        text += f" It was adapted from a model called {markdown(origin.name)} to {clips} of one user."
    return text


def _results(folder: RunFolder, result: Result | None, sample: str) -> str:
    """Test scores with their deviation over seeds, if runs beside this one differ in the seed only."""
    if result is None:
        return "No scores: the run has none."
    for split, of in (
        ("test", f"On {result.splits['test']} test {sample}s."),
        ("valid", f"On {result.splits['valid']} validation {sample}s, which chose the weights."),
    ):
        scores = result.scores(split)
        names = [name for name in metric_names(result) if name in scores]
        if not names:
            continue
        peers = [peer.scores(split) for peer in seeds(folder, result)]
        peers = [peer for peer in peers if set(names) <= peer.keys()]  # not all of them were tested
        rows = ["| metric | this run | mean ± standard deviation | seeds |", "|:--|--:|--:|--:|"]
        for name in names:
            stat = spread([peer[name] for peer in peers])
            over = "" if stat.std is None else f"{_shown(stat.mean, name)} ± {_shown(stat.std, name)}"
            rows.append(
                f"| {markdown(metric(name).title)} | {_shown(scores[name], name)} | {over} | n = {len(peers)} |"
            )
        if split == "valid" and result.finetune:  # no split of its own
            of = "On the user's clips, each when it was held out; they chose the number of epochs."
        alone = " One seed: no deviation." if len(peers) == 1 else ""
        main = metric(MAIN_METRIC[result.task]).title
        return "\n".join(rows) + f"\n\n{of} The main metric is {main}.{alone}" + _adapted(result)
    return "No scores: the run has none." + _adapted(result)


def _adapted(result: Result) -> str:
    """Scores before and after adaptation, of held-out clips."""
    held = result.finetune.held_out if result.finetune else Change()
    if not held.before or not held.after:
        return ""
    main = MAIN_METRIC[result.task]
    before, after = (_shown(scores[main], main) for scores in (held.before, held.after))
    return f"\n\nAdapted: {metric(main).title} on the user's clips {before} before, {after} after, each held out once."


def seeds(folder: RunFolder, result: Result) -> list[Result]:
    """The results of the runs beside this one that differ from it in the seed only, including itself."""
    config = replace(folder.read(Config), seed=0)
    by_seed = {}
    for path in sorted(folder.path.resolve().parent.iterdir()):
        peer = RunFolder(path)
        other = peer.get(Result)
        if other is None or other.finetune or replace(peer.read(Config), seed=0) != config:
            continue
        if all(getattr(other, key) == getattr(result, key) for key in ("name", "method", "clips", "fold", "classes")):
            by_seed[other.seed] = other
    return list({**by_seed, result.seed: result}.values())


def _cost(result: Result | None, env: Environment | None, said: Said) -> str:
    if result is None:
        return "Not measured."
    cost = result.cost
    rows = [f"| | per {said.sample} |", "|:--|--:|", f"| multiply-adds | {cost.gmacs:.4g} GMACs |"]
    for name, gmacs in sorted(cost.features_gmacs.items()):
        rows.append(f"| plus the encoder that makes {markdown(name)} | {gmacs:.4g} GMACs |")
    rows.append(f"| parameters | {cost.parameters:,} |")
    doubt = ""
    if cost.latency_ms is not None:  # a doubt is of batches then
        rows.append(f"| latency, batch 1 | {cost.latency_ms:.2f} ms |")
    elif cost.doubt:
        rows.append("| latency, batch 1 | - |")
        doubt = f" Latency could not be measured: {markdown(cost.doubt, REASON)}."
    if cost.memory_mb is not None:
        rows.append(f"| peak memory of a training step | {cost.memory_mb:.2f} MB |")
    # Runs that share cores train with fewer threads than they are measured with, or elsewhere.
    where = cost.where or (f"{env.device}, torch {env.torch}" if env else "a machine that is not stated")
    return "\n".join(rows) + f"\n\nA {said.sample} {said.size}, in float32, on {markdown(where)}.{doubt}"


def _inputs(facts: ModelFacts) -> str:
    rows = ["| modality | features | longest in training | made by |", "|:--|--:|--:|:--|"]
    for name, width in sorted(facts.features.items()):
        spec = facts.extractors.get(name)
        if spec:
            options = ", ".join(f"{k} {v}" for k, v in spec.items() if k not in PLACE)
            source = f"{markdown(spec['extractor'])} of sparsefuse" + (
                f" ({markdown(options, REASON)})" if options else ""
            )
        else:
            source = "elsewhere; give arrays (tokens, features)"
        rows.append(f"| {markdown(name)} | {width} | {facts.lengths[name]} | {source} |")
    return "\n".join(rows) + "\n\nAny subset of the modalities works; what is missing is named in the answer."


def _labels(labels: Labels) -> str:
    if labels.task == "regression":
        return "A number."
    return f"{len(labels.classes)} classes: {_join(labels.classes)}."


def _data(result: Result | None, data: str | None, what: str) -> str:
    counted = ", ".join(f"{name} {count}" for name, count in result.splits.items() if count) if result else ""
    stated = markdown(data, REASON) if data else f"What it was trained on: {NOT_STATED}."
    return stated + (f"\n\n{what}: {counted}." if counted else "")


def _use(source: str, facts: ModelFacts) -> str:
    streams = ", ".join(f"{json.dumps(name)}: {json.dumps(name + '.npy')}" for name in sorted(facts.features))
    clip = '"clip.mp4"' if facts.extract else f"{{{streams}}}"
    return (
        f"```sh\npip install sparsefuse && sparsefuse pull {source} model\n```\n\n"
        f'```python\nimport sparsefuse\n\nmodel = sparsefuse.load("model")\nprint(model.predict({clip}))\n```\n\n'
        "The weights are safetensors, all else is JSON: loading executes no code of this repository."
    )


def _limits(result: Result | None, said: Said) -> str:
    doubts = [
        f"The choice of its weights is doubtful: {markdown(text)}." for text in (result.warnings if result else [])
    ]
    misuse = "Nothing was measured on fairness, safety or misuse; do not base decisions about people on it alone."
    return "\n".join(f"- {line}" for line in [*said.limits, misuse, *doubts, *([said.origin] if said.origin else [])])


def _shown(value: float, name: str) -> str:
    return f"{100 * value:.2f} %" if metric(name).share else f"{value:.4g}"


def _join(names: Sequence[str]) -> str:
    return ", ".join(markdown(name) for name in names)
