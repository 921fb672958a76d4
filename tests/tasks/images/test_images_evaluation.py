"""`jaxlab.tasks.images.evaluation`: a finished run evaluated: the same figures as in training, and
the bound below them."""

import dataclasses
import types

import chex
import jax
import numpy as np
import pytest

from jaxlab import train
from jaxlab.errors import DivergedError
from jaxlab.metrics import read_metrics
from jaxlab.models import nvae
from jaxlab.tasks import images
from jaxlab.tasks.images import evaluation


@pytest.fixture(scope="module")
def run(trained):
    return train.load_run(trained)


@pytest.fixture(scope="module")
def bounds():
    """What the bound was of each batch."""
    return []


@pytest.fixture(scope="module")
def figures(run, bounds):
    def recorded(model, *, num_samples, chunk):
        bound = nvae.importance_bound(model, num_samples=num_samples, chunk=chunk)

        def of(*args):
            bounds.append(bound(*args))
            return bounds[-1]

        return of

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "nvae", types.SimpleNamespace(**vars(nvae)))
        patch.setattr(evaluation.nvae, "importance_bound", recorded)
        return images.evaluate(run, "validation", limit=24, num_samples=4, chunk=2, batch_size=16)


def test_a_bound_of_several_samples_is_below_the_elbo(run, figures, bounds):
    each = np.concatenate(bounds)[:24]  # the second batch is half full
    assert figures["bound"] == pytest.approx(each.mean())
    assert figures["bound_se"] == pytest.approx(each.std(ddof=1) / 24**0.5)
    assert (figures["images"], figures["split"], figures["bound_samples"]) == (24, "validation", 4)
    assert (figures["step"], figures["weights"]) == (4, "ema")
    assert figures["nelbo"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    assert figures["bound"] <= figures["nelbo"] + 3 * figures["nelbo_se"]
    assert 0 <= figures["active_channels"] <= run.model.num_groups * run.model.latents
    text = images.table(figures, run.model)
    assert text.startswith("validation, 24 images, ema weights of step 4\n")
    assert f"{figures['bound']:.3f} +- {figures['bound_se']:.3f} nats" in text
    assert f"{figures['nelbo'] / (784 * np.log(2)):.4f} bits/dim" in text
    assert text.endswith("of 8 channels")


def test_the_figures_are_those_of_training(trained, run):
    """In training the batches are of another size and split over devices: other noise."""
    row = read_metrics(trained)[-1]
    found = images.evaluate(run, "validation", limit=32, num_samples=0, batch_size=32)
    assert "bound" not in found
    assert found["nelbo"] == pytest.approx(row["eval/nelbo"], rel=1e-5)
    assert found["nelbo_se"] == pytest.approx(row["eval/nelbo_se"], rel=1e-3)


@pytest.mark.slow
def test_another_seed_or_statistics_anew_change_the_figures(run, figures):
    options = {"limit": 24, "num_samples": 0, "batch_size": 16}
    same = images.evaluate(run, "validation", **options)
    assert same["nelbo"] == figures["nelbo"]
    assert images.evaluate(run, "validation", seed=1, **options)["nelbo"] != figures["nelbo"]
    fresh = images.evaluate(run, "validation", refresh=1, **options)
    assert fresh["nelbo"] != figures["nelbo"]
    assert np.isfinite(fresh["nelbo"])


def test_figures_that_are_not_finite_are_an_error(run):
    broken = jax.tree.map(lambda x: x * np.nan, run.params)
    with pytest.raises(DivergedError, match="nelbo of the ema weights of step 4 is nan: take"):
        images.evaluate(dataclasses.replace(run, params=broken), "validation", limit=4)


def test_rows_that_fill_up_a_batch_are_no_images(run, monkeypatch):
    seen = {"active": [], "fresh": []}

    def active_channels(model):
        found = nvae.active_channels(model)
        return lambda variables, x, key: (seen["active"].append(x), found(variables, x, key))[1]

    def refresh_statistics(model, variables, batches, key):
        seen["fresh"].append([np.asarray(batch) for batch in batches])
        return variables["batch_stats"]

    patched = {"active_channels": active_channels, "refresh_statistics": refresh_statistics}
    monkeypatch.setattr(evaluation, "nvae", types.SimpleNamespace(**{**vars(nvae), **patched}))
    five = lambda split, limit=None: run.load_data(split, limit=5)
    for size, batches in ((16, [slice(0, 5)]), (2, [slice(0, 2), slice(2, 4)])):
        config = {**run.config, "batch_size": size}
        few = dataclasses.replace(run, config=config, load_data=five)
        images.evaluate(few, "validation", num_samples=0, batch_size=8, refresh=3)
        known = run.load_data("train", limit=5).padded(np.arange(5))
        chex.assert_trees_all_equal(seen["fresh"].pop(), [known[part] for part in batches])
        assert seen["active"].pop().shape[0] == 5


def test_the_chunk_must_divide_before_any_work(run):
    with pytest.raises(ValueError, match="chunk must divide"):
        images.evaluate(run, "validation", limit=4, num_samples=10, chunk=4)
