"""`jaxlab.tasks.compression.report`: rows and tables from records that are written here."""

import json
import types

import jax.numpy as jnp
import pytest

from jaxlab.tasks.compression import report

SEEDS, ARMS = (0, 3), ("direct", "truncated", "constant")
PLACES = {
    "predecessor": (2, 0.9),
    "depth_1/direct/direct": (1, 0.5),
    "depth_1/truncated/successor": (1, 0.6),
    "depth_1/constant/successor": (1, 0.7),
}
ASKED = {"seeds": SEEDS, "depths": (1,), "arms": ARMS}


@pytest.fixture
def studied(tmp_path):
    """Folder of a study; the second seed is better by 0.02 on validation, by 0.04 on test data."""
    for i, seed in enumerate(SEEDS):
        for place, (depth, accuracy) in PLACES.items():
            folder = tmp_path / f"seed_{seed}" / place
            folder.mkdir(parents=True)
            record = {
                "num_steps": 6,
                "depth": depth,
                "parameters": 1_234_567 * depth,
                "validation/accuracy": accuracy + 0.02 * i,
                "test/accuracy": accuracy + 0.04 * i,
                "test/loss": 1.0 - accuracy,
            }
            (folder / "result.json").write_text(json.dumps(record))
        swaps = {"predecessor": 0.9, "swapped": [0.8, 0.9 + 0.1 * i]}
        (tmp_path / f"seed_{seed}/depth_1/constant/sensitivity.json").write_text(json.dumps(swaps))
    return tmp_path


def test_rows_hold_every_seed(studied):
    rows = report.collect(studied, **ASKED, deep=2, successor_steps=5)
    names = ["predecessor, 2 layers", *(f"{arm}, 1 layers" for arm in ARMS)]
    assert list(rows) == names
    assert rows["constant, 1 layers"] == {
        "validation/accuracy": pytest.approx([0.7, 0.72]),
        "test/accuracy": pytest.approx([0.7, 0.74]),
        "test/loss": pytest.approx([0.3, 0.3]),
        "depth": 1,
        "parameters": 1_234_567,
    }
    with pytest.raises(FileNotFoundError):  # without that stage the first ones would count
        report.collect(studied, **ASKED, deep=2, successor_steps=0)


def test_swapped_modules_cost_points(studied):
    (found,) = report.collect_swaps(studied, **ASKED).values()
    assert found[0] == pytest.approx([10.0, 0.0])
    assert found[1] == pytest.approx([10.0, -10.0])


def test_the_table_by_hand(studied):
    rows = report.collect(studied, **ASKED, deep=2, successor_steps=5)
    swaps = report.collect_swaps(studied, **ASKED)
    latency = {2: {1: 2.04, 32: 20.4}, 1: {1: 1.0, 32: 10.6}}
    text = report.markdown(rows, latency, swaps, train_texts=400, test_texts=100)
    lines = text.splitlines()
    assert lines[0] == (
        "2 seeds, 400 training texts, 100 test texts; accuracies in %, mean ± standard deviation "
        "over seeds."
    )
    # 90 and 92, 90 and 94: deviations sqrt(2) and 2 sqrt(2).
    assert (
        lines[4] == "| predecessor, 2 layers | 2.47 M | 91.00 ± 1.41 | 92.00 ± 2.83 |  | 2.0 | 20 |"
    )
    # Each seed's difference from its own control is the same: the interval has no width.
    assert lines[5].endswith("| -10.00 [-10.00, -10.00] | 1.0 | 11 |")
    assert lines[6].split("|")[5].strip() == ""  # the control itself
    assert lines[7].endswith("| +10.00 [+10.00, +10.00] | 1.0 | 11 |")
    assert lines[-1].endswith("is swapped (constant, 1 layers): 10.00, -5.00")


def test_latency_is_of_each_depth_and_batch(monkeypatch):
    """Timed without a clock: a call's milliseconds are what it was given."""
    model = lambda depth: types.SimpleNamespace(
        depth=depth, init=lambda key, ids: {"params": jnp.ones(ids.shape) * depth}
    )
    study = types.SimpleNamespace(
        models={2: model(2), 1: model(1)},
        head="head",
        initial=lambda seed: {"bert": None, "head": jnp.float32(seed)},
        config={"buckets": (4, 8), "latency_repeats": 7},
    )

    def apply_classifier(model, head, params, batch):
        assert (head, params["bert"].shape, model.depth) == ("head", (1, 2), model.depth)
        same = batch["input_ids"] == batch["attention_mask"]
        return params["bert"].sum() / 2 + params["head"] + same.sum()  # depth + tokens

    def medians(runs, repeats):
        assert repeats == 7
        return {name: float(run()) for name, run in runs.items()}

    monkeypatch.setattr(report.bert, "apply_classifier", apply_classifier)
    monkeypatch.setattr(report.timing, "medians", medians)
    found = report.latency(study)
    assert found == {1: {1: 9e3, 32: 257e3}, 2: {1: 10e3, 32: 258e3}}
