"""Short run of the fuzzer of pipelines."""

from collections import Counter

from tests.robustness import pipelines


def test_pipelines_are_correct_or_refused():
    outcomes = [pipelines.run(number, seed=3) for number in range(600)]
    bad = [(outcome, detail) for outcome, detail in outcomes if outcome.startswith("bad")]
    assert not bad, bad[:3]
    assert Counter(outcome for outcome, _ in outcomes)["right"] > 500
