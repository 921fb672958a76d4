"""`jaxlab.tasks.embeddings.sweep`: optima by hand, intervals, cells, wrong configs."""

import functools
import json
import types

import jax
import numpy as np
import pytest

from jaxlab import embedding_dim as ed
from jaxlab.data.corpus import read_texts
from jaxlab.metrics import MetricsWriter, read_metrics
from jaxlab.models import skipgram
from jaxlab.tasks.embeddings import sweep

NAN = float("nan")


def test_the_optimum_is_the_vertex_of_a_parabola():
    dims = (2, 4, 8, 16, 32)
    # (log n - log 6)^2 is a parabola in log n, whichever three are nearest.
    values = (np.log(dims) - np.log(6)) ** 2
    assert sweep.optimum(dims, values) == pytest.approx(6)
    assert sweep.optimum(dims, 5 + 3 * values) == pytest.approx(6)
    assert sweep.optimum(dims, np.arange(5.0)) == 2  # at an end: the end itself
    assert sweep.optimum(dims, -np.arange(5.0)) == 32
    assert sweep.optimum((2, 4, 8), [1.0, 0.0, 1.0]) == pytest.approx(4)
    # y = 2, 1, 3 at x = 0, 1, 2: the vertex of 1.5 x^2 - 2.5 x + 2 is at x = 5 / 6.
    assert sweep.optimum((1, 2, 4), [2.0, 1.0, 3.0]) == pytest.approx(2 ** (5 / 6))


def test_a_dimension_that_diverged_is_not_the_best():
    assert sweep.optimum((2, 4, 8), [NAN, 3.0, 5.0]) == 4
    assert sweep.optimum((2, 4, 8), [3.0, 5.0, -np.inf]) == 2
    assert np.isnan(sweep.optimum((2, 4), [NAN, NAN]))
    want = sweep.optimum((2, 4, 8), [2.0, 1.0, 3.0])
    assert sweep.optimum((1, 2, 4, 8), [NAN, 2.0, 1.0, 3.0]) == want


def rows(values, dims=(2, 4, 8), vocab_size=60):
    """Rows of values [dimensions, seeds]; the best step is better by 0.5."""
    return [
        {"vocab_size": vocab_size, "dim": n, "seed": s, "held_out": x, "held_out_best": x - 0.5}
        for n, of in zip(dims, values, strict=True)
        for s, x in enumerate(of)
    ]


def test_a_summary_by_hand():
    values = np.array([[3.0, 5.0], [1.0, 3.0], [1.005, 4.0]])
    (entry,) = sweep.summarize(rows(values), vocab_sizes=(60,), dims=(2, 4, 8), seeds=2)
    last = entry["held_out"]
    assert last["mean"] == pytest.approx([4.0, 2.0, 2.5025])
    assert last["optimum"] == pytest.approx(sweep.optimum((2, 4, 8), [4.0, 2.0, 2.5025]))
    want = [sweep.optimum((2, 4, 8), column) for column in values.T]
    assert last["per_seed"] == pytest.approx(want)
    # Two seeds drawn twice: the first, the second or both; the extremes are one seed alone.
    assert last["interval"] == pytest.approx([min(want), max(want)])
    assert last["within_0.01_nats"] == [4]  # the mean of what was lost at 8 is 0.5025
    # What is left of each seed without its mean over dimensions.
    own = values - values.mean(0)
    assert last["sd"] == pytest.approx(own.std(1, ddof=1))
    assert entry["held_out_best"]["mean"] == pytest.approx([3.5, 1.5, 2.0025])
    assert entry["predicted"]["8.33 log N"] == pytest.approx(8.33 * np.log(60))
    assert entry["predicted"]["joint"] == ed.embedding_dim_root(60)


def test_one_seed_has_no_deviation_and_one_dimension_no_optimum():
    (entry,) = sweep.summarize(rows([[2.0]], dims=(4,)), vocab_sizes=(60,), dims=(4,), seeds=1)
    found = entry["held_out"]
    assert found["optimum"] is found["interval"] is found["per_seed"] is found["sd"] is None
    assert sweep.as_line(entry, (4,)) == (
        "N = 60: only dimension 4, so no best one; held out 2.0000 at the last step, 1.5000 at the "
        "best"
    )


def test_the_interval_of_seeds_that_agree_has_no_width():
    same = np.repeat([[3.0], [1.0], [2.0]], 5, axis=1) + np.arange(5)
    (entry,) = sweep.summarize(rows(same), vocab_sizes=(60,), dims=(2, 4, 8), seeds=5)
    low, high = entry["held_out"]["interval"]
    assert low == pytest.approx(high)
    assert low == pytest.approx(entry["held_out"]["optimum"])
    assert sweep.as_line(entry, (2, 4, 8)).startswith("N = 60: best dimension 4 [4, 4] at the last")


@pytest.fixture(scope="module")
def corpus():
    """Twelve paragraphs of words of uneven frequencies."""
    rng = np.random.default_rng(0)
    words = np.array(["the", "of", "sun", "sea", "red", "blue", "moon"])
    chances = np.arange(7, 0, -1) / 28
    return read_texts([" ".join(rng.choice(words, 480, p=chances)) for _ in range(12)])


def config(**changes):
    fit = {"num_steps": 10, "every": 5, "learning_rate": 0.05, "scale": 0.1, "softmax": "joint"}
    found = {
        "job": "sweep",
        "seeds": 2,
        "corpus": "english",
        "share": 1.0,
        "window": 2,
        "held_out": 0.25,
        "block_tokens": 50,
        "vocab_sizes": (6,),
        "dims": (2, 3),
        "fit": fit,
        "min_pairs": 3,
    }
    return {**found, **changes}


def test_shares_of_pairs_are_of_each_seeds_own_text(corpus):
    train, held_out, counts = sweep.pair_shares(config(), corpus, 6)
    assert train.shape == held_out.shape == (2, 6, 6)
    np.testing.assert_allclose(train.sum((1, 2)), 1, rtol=1e-6)
    assert not np.array_equal(train[0], train[1])
    half = sweep.pair_shares(config(share=0.5), corpus, 6)[2]
    assert all(0.3 < a / b < 0.7 for a, b in zip(half, counts, strict=True))


@pytest.fixture
def fitted(monkeypatch, corpus, tmp_path):
    """Runs a sweep whose fits are made up; returns its table and the cells that were fitted."""

    def run(**changes):
        fits = []

        def fit(config, vocab_size, dim, shares, words, pairs):
            fits.append((vocab_size, dim))
            yield from (
                {**row, "norm_ratio": 1.0, "entropy": 2.0}
                for row in rows([[dim + s for s in range(config["seeds"])]], (dim,), vocab_size)
            )

        monkeypatch.setattr(sweep, "fit_cell", fit)
        asked = sweep.check_sweep(config(**changes))
        return sweep.run(asked, tmp_path, corpus, {}), fits

    return run


def test_cells_are_fitted_once(fitted, tmp_path):
    table, fits = fitted()
    assert fits == [(6, 2), (6, 3)]
    assert table[0]["held_out"]["mean"] == [2.5, 3.5]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert fitted() == (table, [])
    more, fits = fitted(dims=(2, 3, 5), corpus="a/copy/of/the/same.txt", fast_compile=True)
    assert fits == [(6, 5)]
    assert more[0]["held_out"]["mean"] == [2.5, 3.5, 5.5]
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    assert fitted() == (table, [])


@pytest.mark.parametrize(
    "change", [{"window": 3}, {"seeds": 3}, {"held_out": 0.5}, {"fit": {"num_steps": 5}}]
)
def test_other_settings_are_other_cells(fitted, change):
    fitted()
    assert fitted(**change)[1] == [(6, 2), (6, 3)]
    assert fitted()[1] == []  # the first ones are still there


def test_the_optimizer_is_part_of_a_cell_but_for_that_of_earlier_records(fitted):
    fitted()
    same = {"name": "adam", "schedule": "constant", "l2": None}
    assert fitted(optimizer=same, fit={**config()["fit"], "scale": 0.1})[1] == []
    for other in ({"name": "sgd"}, {"l2": 1e-3}, {"schedule": "cosine"}):
        assert fitted(optimizer=other)[1] == [(6, 2), (6, 3)]


def test_a_sweep_takes_every_optimizer():
    pairs = np.full((2, 5, 5), 1 / 25, np.float32) + np.eye(5, dtype=np.float32) / 50
    shares = {"train": pairs / pairs.sum((1, 2), keepdims=True), "held_out": pairs}

    def tables(**optimizer):
        fit = {**config()["fit"], "num_steps": 2, "every": 1}
        cell = sweep.make_cell(config(fit=fit, optimizer=optimizer), 5, 3)
        return cell.step(cell.create_state(), shares)[1][0]["words"]

    plain = tables()
    np.testing.assert_array_equal(tables(name="adam", schedule="constant", l2=None), plain)
    start = skipgram.init_params(jax.random.key(1), 5, 3)
    for _ in range(2):
        grads = jax.grad(skipgram.joint_cross_entropy)(start, shares["train"][1])
        start = jax.tree.map(lambda p, g: p - 0.05 * (g + 0.3 * p), start, grads)
    found = tables(name="sgd", schedule="constant", l2=0.3)[1]
    np.testing.assert_allclose(found, start["words"], rtol=1e-4, atol=1e-6)
    late = {"schedule": "linear", "warmup_steps": 1}
    for other in ({"flooding": 9.0}, {"sharpness": 0.5}, late):
        assert np.abs(tables(**other) - plain).max() > 1e-4
    flat = tables(name="adam", schedule="linear", final_learning_rate=0.05)
    np.testing.assert_allclose(flat, plain, rtol=1e-5)
    with pytest.raises(ValueError, match="optimizer is 'adan', must be one of sgd"):
        tables(name="adan")


def test_a_cell_that_was_being_written_is_fitted_again(fitted, tmp_path):
    table, _ = fitted()
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    (tmp_path / "results.jsonl").write_text(lines[0])  # killed before its record
    assert fitted() == (table, [(6, 3)])
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    (tmp_path / "metrics.jsonl").write_bytes(whole[:-20])  # or rows are lost
    assert fitted() == (table, [(6, 3)])
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_sweeps_of_earlier_versions_count(fitted, tmp_path):
    with MetricsWriter(tmp_path) as writer:
        for step, dim in enumerate((2, 3), 1):
            for row in rows([[7.0, 8.0][: 3 - step]], (dim,), 6):  # the last one was cut short
                writer.write(step, row)
    table, fits = fitted()
    assert fits == [(6, 3)]
    assert table[0]["held_out"]["mean"] == [7.5, 3.5]
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 1, 2, 2]


def test_one_seed_of_an_earlier_version_counts(fitted, tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, rows([[7.0]], (2,), 6)[0])
    table, fits = fitted(seeds=1)
    assert fits == [(6, 3)]
    assert table[0]["held_out"]["mean"] == [7.0, 3.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 0}, "seeds is 0, must be a whole number"),
        ({"share": 2.0}, "share is 2.0, must be at most 1"),
        ({"share": float("nan")}, "share is nan, must be finite"),
        ({"vocab_sizes": ()}, r"vocab_sizes is \(\), must hold one whole number or more"),
        ({"vocab_sizes": (60, 10**6)}, "the corpus has [0-9]+ words"),
        ({"vocab_sizes": (60, 60)}, "must not hold a number twice"),
        ({"vocab_sizes": (1,)}, r"vocab_sizes\[0\] is 1, must be a whole number of at least 2"),
        ({"dims": ()}, r"dims is \(\), must hold one whole number or more"),
        ({"dims": (4, 0)}, r"dims\[1\] is 0, must be a whole number of at least 1"),
        ({"share": 1.0, "held_out": 1.0}, r"held_out is 1.0, must be below 1"),
        ({"share": 1.0, "block_tokens": 0}, "block_tokens is 0"),
        ({"share": 1.0, "block_tokens": 200, "window": 0}, "window is 0"),
    ],
)
def test_numbers_without_sense_are_refused(change, message, corpus, monkeypatch):
    monkeypatch.setattr(sweep.corpora, "load_corpus", lambda *_, **__: corpus)

    def start():
        asked = sweep.check_sweep(config(**change))
        sweep.pair_shares(asked, sweep.load_words(asked), 6)

    with pytest.raises(ValueError, match=message):
        start()


def test_dimensions_are_swept_in_their_order():
    assert sweep.check_sweep(config(dims=(8, 2, 4)))["dims"] == (2, 4, 8)
    least = sweep.check_sweep(config(seeds=1, vocab_sizes=(2,), dims=(1,), share=1.0))
    assert (least["vocab_sizes"], least["dims"]) == ((2,), (1,))


@pytest.mark.parametrize("softmax", ["joint", "conditional"])
def test_a_cell_fits_every_seed_and_says_how_far_it_came(corpus, softmax, monkeypatch):
    """The parameters are those of a fit; its figures are taken from them here, in float64."""
    asked = config(min_pairs=3)
    asked["fit"] = {**asked["fit"], "softmax": softmax}
    shares = sweep.pair_shares(asked, corpus, 6)
    cell = sweep.make_cell(asked, 6, 2)
    keys = cell.create_state()
    same, kept = cell.step(keys, {"train": shares[0], "held_out": shares[1]})
    assert (jax.random.key_data(same) == jax.random.key_data(keys)).all()
    tables, curves, _, _ = jax.device_get(kept)
    # The first seed diverged, the second was best before its end.
    curves = {
        "train": np.array([[3.0, 2.0], [3.5, 2.5]]),
        "held_out": np.array([[NAN, NAN], [3.0, 3.25]]),
    }
    state = types.SimpleNamespace(
        create_state=lambda: keys, step=lambda *args: (keys, (tables, curves, *kept[2:]))
    )
    monkeypatch.setattr(sweep, "make_cell", lambda *args: state)
    judged = []

    def judge(vectors, words, pairs, *, min_pairs):
        judged.append((vectors.tolist(), words, pairs, min_pairs))
        return {"judged": len(judged)}

    monkeypatch.setattr(sweep, "judge", judge)
    found = list(sweep.fit_cell(asked, 6, 2, shares, corpus.words, {"a": "pairs"}))
    assert [(row["vocab_size"], row["dim"], row["seed"]) for row in found] == [(6, 2, 0), (6, 2, 1)]
    assert [row["train"] for row in found] == [2.0, 2.5]
    assert [row["held_out"] for row in found] == [pytest.approx(NAN, nan_ok=True), 3.25]
    assert [row["held_out_best"] for row in found] == [pytest.approx(NAN, nan_ok=True), 3.0]
    assert [row["best_step"] for row in found] == [10, 5]
    for seed, row in enumerate(found):
        words = corpus.words[:6]
        assert judged[seed] == (tables["words"][seed].tolist(), words, {"a": "pairs"}, 3)
        assert row["judged"] == seed + 1
        assert row["train_pairs"] == shares[2][seed]
        u, v = (np.asarray(tables[name][seed], np.float64) for name in ("words", "contexts"))
        weights = np.exp(u @ v.T)
        p = weights / (weights.sum() if softmax == "joint" else weights.sum(1, keepdims=True))
        entropy = -(p * np.log(p)).sum() / (1 if softmax == "joint" else 6)
        assert row["entropy"] == pytest.approx(entropy, rel=1e-4)
        kappa = np.linalg.norm(u, axis=1).mean() * np.linalg.norm(v, axis=1).mean() / 2
        assert row["norm_ratio"] == pytest.approx(kappa, rel=1e-4)
        theory = functools.partial(ed.skipgram_entropy, 6, 2, pairs=softmax)
        assert row["entropy_theory"] == theory()
        assert row["entropy_theory_at_norm"] == theory(kappa=float(row["norm_ratio"]))
        own = shares[0][seed].astype(np.float64)
        if softmax == "joint":
            want = -np.sum(own[own > 0] * np.log(own[own > 0]))
        else:
            want = ed.empirical_pair_entropy(own, pairs="conditional")
        assert row["entropy_corpus"] == pytest.approx(want, rel=1e-5)


def test_a_cell_as_planners_want_it():
    cell = sweep.make_cell(config(seeds=3), 6, 2)
    assert (cell.num_steps, cell.batch_size) == (1, 3)
    assert {name: x.shape for name, x in cell.batch.items()} == {
        "train": (3, 6, 6), "held_out": (3, 6, 6)
    }  # fmt: skip
    keys = jax.vmap(jax.random.key)(np.arange(3))
    assert (jax.random.key_data(cell.create_state()) == jax.random.key_data(keys)).all()
