"""Claims on made answers: what is true there by construction is what is said."""

import made
import pytest

from sparsefuse.study.claims import claims
from sparsefuse.study.results import Results

TRUE = {"sft": 0.8, "concat": 0.8, "sft, no mixup": 0.7, "concat, factor 64": 0.7, "late, factor 64": 0.6}
TRUE |= {"unimodal (depth)": 0.6, "unimodal (sound)": 0.5}


def accuracy(name, factor):
    """Every claim of the paper holds."""
    if name in TRUE:
        return TRUE[name]
    if name.startswith("sft-po"):
        return 0.8 - 0.05 * (factor - 1)
    if name.startswith("unimodal"):
        return TRUE[name.split(",")[0]] - 0.08 * (factor - 1)
    return 0.8 if name.startswith("sft") else 0.75


def judged(folder, change, **kwargs):
    made.write(folder, lambda name, factor: change.get(name, accuracy(name, factor)), **kwargs)
    return {claim.letter: claim for claim in claims(Results(folder))}


def verdicts(folder, change, **kwargs):
    return {letter: claim.verdict for letter, claim in judged(folder, change, **kwargs).items()}


def test_all_claims_hold_where_they_are_true(tmp_path):
    assert verdicts(tmp_path, {}) == dict.fromkeys("abcdef", "holds")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("letter", "change"),
    [
        ("a", {"sft": 0.6, "sft, factor 1": 0.6}),
        ("b", {"sft, factor 64": 0.6}),
        ("b", {"late, factor 64": 0.76}),  # late loses nothing
        ("c", {"unimodal (depth), factor 2": 0.6, "unimodal (depth), factor 4": 0.6}),
        ("d", {"sft, no mixup": 0.85}),
        ("e", {"sft, pool=max": 0.6}),
        ("f", {"sft-po, factor 2": 0.9, "sft-po, factor 4": 0.9}),
    ],
)
def test_a_claim_fails_where_it_is_false(tmp_path, letter, change):
    found = verdicts(tmp_path, change)
    assert found[letter] == "does not hold"


def test_effects_are_differences_of_the_given_accuracies(tmp_path):
    found = judged(tmp_path, {})
    assert found["a"].effects[0].text == "top-1 of sft minus concat"  # the best by validation
    assert found["a"].effects[0].interval.effect == pytest.approx(0)
    assert [e.interval.effect for e in found["b"].effects] == pytest.approx([0.0, 0.1, 0.15])
    assert found["d"].effects[0].interval.effect == pytest.approx(0.1)
    # sft keeps all; depth keeps (.52 + .36) / 2 / .6, sound (.42 + .26) / 2 / .5
    assert found["c"].effects[0].interval.effect == pytest.approx(1 - 0.44 / 0.6)
    assert found["f"].effects[0].interval.effect == pytest.approx(1 - (0.75 + 0.65) / 2 / 0.8)


def test_as_good_at_the_same_cost_is_no_success(tmp_path):
    found = judged(tmp_path, {}, experiments=["t1"])
    assert found["a"].verdict == "holds"
    for path in (tmp_path / "runs").glob("sft-*/result.json"):
        path.write_text(path.read_text().replace('"gmacs": 0.01', '"gmacs": 0.06'))
    (claim,) = claims(Results(tmp_path))
    assert claim.verdict == "does not hold"
    assert "sft needs 0.6 of its multiply-adds" in claim.note


@pytest.mark.slow
def test_the_margin_decides_between_failed_and_undecided(tmp_path):
    """Ten points less: certain, but not by more than twelve points."""
    change = {"sft": 0.7, "sft, factor 1": 0.7}
    assert verdicts(tmp_path / "narrow", change, margin=0.02)["a"] == "does not hold"
    assert verdicts(tmp_path / "wide", change, margin=0.12)["a"] == "undecided"


@pytest.mark.slow
def test_a_modality_at_chance_has_nothing_to_lose_and_is_left_out(tmp_path):
    chance = {f"unimodal (sound){rest}": 0.25 for rest in ("", ", factor 2", ", factor 4")}
    found = judged(tmp_path / "one", chance)
    assert found["c"].verdict == "holds"
    assert found["c"].note == "Left out: sound, which alone is no better than chance."
    chance |= {f"unimodal (depth){rest}": 0.25 for rest in ("", ", factor 2", ", factor 4")}
    found = judged(tmp_path / "both", chance)
    assert found["c"].verdict == "undecided"
    assert found["c"].effects == []
    assert "depth, sound" in found["c"].note
