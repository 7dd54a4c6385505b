"""scikit-learn's own checks of an estimator, on rows of numbers: clips of one token."""

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator

from sparsefuse import Classifier

NOT_APPLICABLE = {
    "check_no_attributes_set_in_init": "options are those of the method and the configuration",
    "check_do_not_raise_errors_in_init_or_set_params": "an unknown option is refused at once, with the nearest name",
    "check_classifiers_regression_target": "numbers with a fraction are not refused: they mean regression",
    "check_classifiers_multilabel_representation_invariance": "lists name the classes of a clip; a matrix is an array",
    "check_supervised_y_2d": "labels of shape (n, 1) are taken without a warning",
}


@pytest.mark.slow
def test_scikit_learns_checks_pass_where_they_apply() -> None:
    """Their rows repeat, so that leaks are a warning here."""
    small = {"dim": 8, "num_heads": 2, "fusion_depth": 1, "epochs": 6, "batch_size": 16}
    clf = Classifier("concat", lr=0.05, mixup_alpha=0.0, device="cpu", leaks="warn", **small)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(clf, expected_failed_checks=NOT_APPLICABLE, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "xfail"}
    assert failed == set(NOT_APPLICABLE), "a check that passes is no exception"
    assert sum(result["status"] == "passed" for result in results) > 45
