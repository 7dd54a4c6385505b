"""Predictions of a run are read as they were written, whatever classes are called."""

from pathlib import Path

import torch

from sparsefuse.data.labels import Labels
from sparsefuse.runs.answers import Answer, read_answers
from sparsefuse.runs.scoring import Predicted, predictions_csv


def test_classes_may_be_called_as_columns_are(tmp_path: Path) -> None:
    """DictReader gave the probability of the class `label` in place of the label, so that all answers were wrong."""
    labels = Labels("class", ("id", "label", "predicted"))
    logits = torch.tensor([[0.0, 0.5, 0.5], [0.25, 0.5, 0.25]]).log()
    path = tmp_path / "predictions.csv"
    path.write_text(predictions_csv(Predicted(logits, torch.tensor([0, 1]), ["a", "b"]), labels))
    assert list(read_answers(path)) == [
        Answer("a", "id", "label", {"id": 0.0, "label": 0.5, "predicted": 0.5}),
        Answer("b", "label", "label", {"id": 0.25, "label": 0.5, "predicted": 0.25}),
    ]
