"""`jaxlab.tasks.compression.predictions`: scores as scikit-learn and SciPy have them, and files."""

import numpy as np
import pytest

from jaxlab.tasks import compression
from jaxlab.tasks.compression import predictions

LABELS = np.array([1, 0, 1, 1, 0, 2])
LOGITS = np.eye(3)[[1, 1, 1, 0, 0, 2]]


def test_scores_of_classes_by_their_formulas():
    pytest.importorskip("sklearn")
    two, labels = LOGITS[:5, :2], LABELS[:5]  # chosen 1 1 1 0 0, right 1 0 1 1 0
    assert compression.score("accuracy", two, labels) == pytest.approx(3 / 5)
    assert compression.score("f1", two, labels) == pytest.approx(4 / 6)  # 2 TP / (2 TP + FP + FN)
    assert compression.score("matthews", two, labels) == pytest.approx((2 * 1 - 1 * 1) / 6)
    f1 = (2 / 4, 4 / 6, 1)
    assert compression.score("macro_f1", LOGITS, LABELS) == pytest.approx(np.mean(f1))
    with pytest.raises(ValueError, match="'f1' is of two classes, there are 3"):
        compression.score("f1", LOGITS, LABELS)


def test_scores_of_numbers_by_their_formulas():
    x, y = np.array([0.1, 0.4, 0.2, 3.0]), np.array([1.0, 2, 3, 4])
    a, b = x - x.mean(), y - y.mean()
    pearson = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert compression.score("pearson", x, y) == pytest.approx(pearson)
    assert compression.score("spearman", x, y) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert compression.score("pearson", np.ones(4), y) == 0  # no number of a run may be NaN
    with pytest.raises(ValueError, match="metric is 'accuracy', of numbers there are spearman"):
        compression.score("accuracy", x, y)


def test_the_metrics_of_a_study():
    of = lambda name, metric="", count=2: predictions.metrics_of(
        {"data": {"name": name}, "metric": metric}, count
    )
    assert of("headlines") == ("accuracy",)
    assert of("glue/cola") == ("matthews", "accuracy")
    assert of("glue/stsb", "pearson", 1) == ("pearson", "spearman")
    assert of("csv", "f1") == ("f1", "accuracy")
    with pytest.raises(ValueError, match="metric is 'bleu', of classes there are accuracy"):
        of("csv", "bleu")
    with pytest.raises(ValueError, match="metric is 'f1', of numbers"):
        of("csv", "f1", 1)


def test_logits_of_batches_come_back_in_the_order_of_the_texts():
    batches = [
        {"index": np.array([3, 1]), "mask": np.ones(2), "x": np.array([30.0, 10])},
        {"index": np.array([0, 2]), "mask": np.array([1, 1.0]), "x": np.array([0.0, 20])},
        {"index": np.array([4, 0]), "mask": np.array([1, 0.0]), "x": np.array([40.0, 99])},
    ]
    step = predictions.make_logits_step(lambda params, state, batch: params * batch["x"])
    found = predictions.collect_logits(step, 2.0, {}, batches)
    assert found.tolist() == [0, 20, 40, 60, 80]


def test_predictions_are_names_or_numbers(tmp_path):
    compression.write_predictions(tmp_path / "a" / "p.tsv", LOGITS[:2], ("no", "yes", "both"))
    assert (tmp_path / "a" / "p.tsv").read_text() == "index\tprediction\n0\tyes\n1\tyes\n"
    compression.write_predictions(tmp_path / "p.tsv", LOGITS[:1])
    assert (tmp_path / "p.tsv").read_text().endswith("\n0\t1\n")
    compression.write_predictions(tmp_path / "p.tsv", np.array([1.25]))
    assert (tmp_path / "p.tsv").read_text().endswith("\n0\t1.25\n")
    said = ["b", "A", "b", "b", "a", "c"]
    assert compression.score_labels(LOGITS, "abc", said) == {"accuracy": pytest.approx(4 / 6)}
    with pytest.raises(ValueError, match="labels hold 'd', the classes are a, b, c"):
        compression.score_labels(LOGITS[:2], "abc", ["d", "a"])
