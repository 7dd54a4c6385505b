"""Prometheus reads what the server counts."""

from sparsefuse.serve.numbers import Histogram, Numbers


def test_buckets_hold_what_is_at_most_their_bound_and_all_below() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (0.5, 1, 1.5, 4, 9):
        histogram.add(value)
    assert histogram.lines("x") == [
        'x_bucket{le="1"} 2', 'x_bucket{le="2"} 3', 'x_bucket{le="4"} 4', 'x_bucket{le="+Inf"} 5',
        "x_sum 16.000000", "x_count 5",
    ]  # fmt: skip


def test_requests_are_counted_by_path_and_status_and_timed_for_predict_alone() -> None:
    numbers = Numbers()
    numbers.request("/predict", 200, 0.02)
    numbers.request("/predict", 200, 0.02)
    numbers.request("/predict", 422, 0.02)
    numbers.request("/health", 200, 9.0)
    numbers.gauge("queue_depth", "Waiting.", lambda: 3)
    lines = numbers.text().splitlines()
    assert 'sparsefuse_requests_total{path="/predict",status="200"} 2' in lines
    assert 'sparsefuse_requests_total{path="/health",status="200"} 1' in lines
    assert "sparsefuse_request_seconds_count 3" in lines
    assert "sparsefuse_request_seconds_sum 0.060000" in lines
    assert "sparsefuse_queue_depth 3" in lines


def test_every_line_is_a_comment_or_a_name_with_a_number() -> None:
    numbers = Numbers()
    numbers.batch(3)
    for line in numbers.text().splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0
