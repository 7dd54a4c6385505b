"""The model card: a run folder in, Markdown with the hub's header out. Every number is from the run's own files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsefuse.files.whole import read_json
from sparsefuse.runs.summary import MAIN_METRIC, METRICS, metric, spread

NOT_STATED = "not stated"


def card(run: Path, *, title: str, source: str, license: str | None, data: str | None) -> str:
    """The card of `run`. `title` is its name; `source` is what `sparsefuse pull` is to be given; `data` says in words
    what it was trained on."""
    facts = read_json(run / "model.json")
    result = read_json(run / "result.json") if (run / "result.json").is_file() else {}
    env = read_json(run / "env.json") if (run / "env.json").is_file() else {}
    parts = [
        _header(facts, result, license),
        f"# {_plain(title)}",
        _what(facts),
        "## Results\n\n" + _results(run, result),
        "## Cost\n\n" + _cost(result, env),
        "## Inputs\n\n" + _inputs(facts),
        "## Labels\n\n" + _labels(facts["labels"]),
        "## Data\n\n" + _data(facts, result, data),
        "## Use\n\n" + _use(source, facts),
        "## Intended use and limits\n\n" + _limits(facts, result),
        f"## Licence\n\n{_plain(license) if license else NOT_STATED}",
    ]
    return "\n\n".join(parts) + "\n"


def _header(facts: dict[str, Any], result: dict[str, Any], license: str | None) -> str:
    """What the hub reads: YAML, whose strings JSON can write."""
    lines = ["library_name: sparsefuse", "tags: [sparsefuse, multimodal, " + json.dumps(facts["method"]) + "]"]
    if license:
        lines.insert(0, f"license: {json.dumps(license)}")
    return "\n".join(["---", *lines, "---"])


def _what(facts: dict[str, Any]) -> str:
    task = {
        "class": "one class per clip",
        "multilabel": "any number of classes per clip",
        "heads": "one class in each of several heads",
        "regression": "a number per clip",
    }[facts["labels"]["task"]]
    origin = facts.get("finetuned_from")
    said = f"A classifier of clips with the streams {_join(sorted(facts['features']))}, by the method "
    said += f"`{facts['method']}` of sparsefuse: {task}."
    if origin:
        said += f" It was adapted from a model called {_plain(origin['name'])} to {origin['clips']['count']} clips of "
        said += "one user."
    return said


def _results(run: Path, result: dict[str, Any]) -> str:
    """Test scores with their deviation over seeds, where the run stands among runs that differ in the seed only."""
    for split, said in (("test", "test clips"), ("valid", "validation clips, which chose the weights")):
        scores = result.get(split) or {}
        names = [name for name in (*METRICS, *_of_heads(result)) if name in scores]
        if not names:
            continue
        peers = seeds(run, result)
        rows = ["| metric | this run | mean ± standard deviation | seeds |", "|:--|--:|--:|--:|"]
        for name in names:
            found = spread([peer[split][name] for peer in peers if name in peer.get(split, {})])
            over = "" if found.std is None else f"{_shown(found.mean, name)} ± {_shown(found.std, name)}"
            rows.append(f"| {metric(name).title} | {_shown(scores[name], name)} | {over} | n = {len(peers)} |")
        count = result.get("splits", {}).get(split)
        of = f"On {count} {said}." if count else f"On {said}."
        alone = " One seed: the deviation is not known." if len(peers) == 1 else ""
        main = metric(MAIN_METRIC[result["task"]]).title
        return "\n".join(rows) + f"\n\n{of} The main metric is {main}.{alone}" + _adapted(result)
    return "No scores: the run has none." + _adapted(result)


def _adapted(result: dict[str, Any]) -> str:
    """What adaptation brought, by clips each held out once."""
    held = result.get("finetune", {}).get("held_out", {})
    if not held.get("before"):
        return ""
    main = MAIN_METRIC[result["task"]]
    before, after = (_shown(held[when][main], main) for when in ("before", "after"))
    return f"\n\nAdapted: {metric(main).title} on the user's clips {before} before, {after} after, each held out once."


def seeds(run: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """result.json of the runs beside this one that differ from it in the seed only, itself among them."""
    config = _but_seed(run)
    found = {}
    for path in sorted(run.resolve().parent.glob("*/result.json")):
        peer = read_json(path)
        same = all(peer.get(key) == result.get(key) for key in ("name", "method", "clips", "fold", "classes"))
        if same and "finetune" not in peer and _but_seed(path.parent) == config:
            found[peer["seed"]] = peer
    return list({**found, result["seed"]: result}.values())


def _but_seed(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    return {key: value for key, value in read_json(path).items() if key != "seed"} if path.is_file() else {}


def _cost(result: dict[str, Any], env: dict[str, Any]) -> str:
    cost = result.get("cost", {})
    if not cost:
        return "Not measured."
    rows = ["| | per clip |", "|:--|--:|", f"| multiply-adds | {cost['gmacs']:.4g} GMACs |"]
    rows.append(f"| parameters | {cost['parameters']:,} |")
    if "latency_ms" in cost:
        rows.append(f"| latency, batch 1 | {cost['latency_ms']:.2f} ms |")
        rows.append(f"| peak memory of a training step | {cost['memory_mb']:.2f} MB |")
    lengths = ", ".join(f"{_plain(name)} {count}" for name, count in cost.get("lengths", {}).items())
    where = f"{env.get('device', 'a machine')}, {env.get('threads', '?')} threads, torch {env.get('torch', '?')}"
    return "\n".join(rows) + f"\n\nA clip of typical length ({lengths} tokens), in float32, on {_plain(where)}."


def _inputs(facts: dict[str, Any]) -> str:
    extract = (facts.get("extract") or {}).get("features", {})
    rows = ["| modality | features | longest in training | made by |", "|:--|--:|--:|:--|"]
    for name, width in sorted(facts["features"].items()):
        spec = extract.get(name)
        if spec:
            options = ", ".join(f"{k} {v}" for k, v in spec.items() if k not in ("extractor", "source"))
            made = f"`{spec['extractor']}` of sparsefuse" + (f" ({_plain(options)})" if options else "")
        else:
            made = "elsewhere; give arrays (tokens, features)"
        rows.append(f"| {_plain(name)} | {width} | {facts['lengths'][name]} | {made} |")
    return "\n".join(rows) + "\n\nAny subset of the modalities works; what is missing is named in the answer."


def _labels(labels: dict[str, Any]) -> str:
    if labels["task"] == "regression":
        return "A number."
    classes = labels["classes"]
    return f"{len(classes)} classes: " + ", ".join(_plain(name) for name in classes) + "."


def _data(facts: dict[str, Any], result: dict[str, Any], data: str | None) -> str:
    splits = result.get("splits", {})
    counted = ", ".join(f"{name} {count}" for name, count in splits.items() if count)
    said = _plain(data) if data else f"What it was trained on: {NOT_STATED}."
    what = "Clips that it was adapted to and tested on" if "finetuned_from" in facts else "Clips"
    return said + (f"\n\n{what}: {counted}." if counted else "")


def _use(source: str, facts: dict[str, Any]) -> str:
    streams = ", ".join(f'"{name}": "{name}.npy"' for name in sorted(facts["features"]))
    clip = '"clip.mp4"' if facts.get("extract") else f"{{{streams}}}"
    return (
        f"```sh\npip install sparsefuse && sparsefuse pull {source} model\n```\n\n"
        f'```python\nimport sparsefuse\n\nmodel = sparsefuse.load("model")\nprint(model.predict({clip}))\n```\n\n'
        "The weights are safetensors, all else is JSON: loading executes no code of this repository."
    )


def _limits(facts: dict[str, Any], result: dict[str, Any]) -> str:
    origin = facts.get("finetuned_from")
    lines = [
        "- Meant for clips like those of its data, with the labels above; other clips get one of these labels too.",
        "- The scores hold for the clips they were measured on. Other people, devices and places may differ.",
        "- Nothing was measured on fairness, safety or misuse; do not decide about people by it alone.",
    ]
    if origin:
        lines.append("- It was adapted to one user's clips; the scores of the model it came from do not hold for it.")
    return "\n".join(lines)


def _of_heads(result: dict[str, Any]) -> Sequence[str]:
    return [f"{name}_{head}" for head in result.get("heads", {}) for name in ("top1", "top5")]


def _shown(value: float, name: str) -> str:
    return f"{100 * value:.2f} %" if metric(name).share else f"{value:.4g}"


def _join(names: Sequence[str]) -> str:
    return ", ".join(_plain(name) for name in names)


def _plain(text: str) -> str:
    """A text that cannot break the page: one line, without what Markdown and HTML would read."""
    line = " ".join(str(text).split())
    return "".join("\\" + letter if letter in "\\`*[]<>|#!" else letter for letter in line)
