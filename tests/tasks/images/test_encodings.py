"""`jaxlab.tasks.images.encodings` and the weights that another program can read."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import data, train
from jaxlab.models import nvae
from jaxlab.tasks import images
from jaxlab.tasks.images import exports


@pytest.fixture(scope="module")
def run(trained):
    return train.load_run(trained)


@pytest.fixture(scope="module")
def arrays(run):
    return images.encode(run, "test", limit=7, batch_size=4, seed=5)


def test_every_image_has_means_a_draw_and_its_price(run, arrays):
    model, key = run.model, jax.random.key(5)
    held_out = run.load_data("test", limit=7)
    batch = next(iter(data.eval_batches(held_out, 7, binarize="fixed", seed=5)))
    x = nvae.prepare_images(model, jnp.asarray(batch["image"]), key)
    keys = [jax.random.fold_in(key, i) for i in range(7)]
    noise = [np.stack(g) for g in zip(*(exports.noise_of(model, k) for k in keys), strict=True)]
    both = jax.jit(lambda v: (model.apply(v, x), model.apply(v, x, noise=noise)))
    means, drawn = both(run.variables)
    groups = [f"{i:02d}" for i in range(model.num_groups)]
    assert set(arrays) == {"kl", "label", *(f"{k}_{g}" for k in ("mean", "draw") for g in groups)}
    close = lambda name, want: np.testing.assert_allclose(arrays[name], want, rtol=1e-4, atol=1e-5)
    for i, group in enumerate(groups):
        close(f"mean_{group}", means.latents[i])
        close(f"draw_{group}", drawn.latents[i])
    close("kl", drawn.kl)
    np.testing.assert_array_equal(arrays["label"], held_out.labels)
    assert np.abs(arrays["draw_00"] - arrays["mean_00"]).max() > 0.01


def test_pictures_are_made_of_the_latents(run):
    made = {"reconstruct": True, "interpolate": 3}
    found = images.encode(run, "test", limit=3, batch_size=2, seed=5, **made)
    batch = next(
        iter(data.eval_batches(run.load_data("test", limit=3), 3, binarize="fixed", seed=5))
    )
    x = nvae.prepare_images(run.model, jnp.asarray(batch["image"]), jax.random.key(5))

    @jax.jit
    def wanted(v):
        outputs = [run.model.apply(v, x, method="reconstruct")]
        pairs = ((0, 1), (2, 0))
        way = lambda a, b: run.model.apply(v, x[a], x[b], steps=3, method="interpolate")
        outputs += [way(*pair) for pair in pairs]
        return [255 * run.model.observation.mean(output.parameters) for output in outputs]

    whole, first, last = wanted(run.variables)
    assert found["reconstruction"].dtype == found["interpolation"].dtype == np.uint8
    assert found["interpolation"].shape == (3, 3, 28, 28, 1)
    for have, want in (
        (found["reconstruction"], whole),
        *zip(found["interpolation"][[0, 2]], (first, last), strict=True),
    ):
        assert np.abs(have - want).max() <= 0.51
    ends = np.abs(found["interpolation"][:, 0].astype(int) - found["reconstruction"])
    assert ends.max() <= 1
    assert not any(name.startswith("whitened") for name in found)


def test_a_set_without_labels_has_none(run):
    bare = lambda *args, **kwargs: dataclasses.replace(run.load_data(*args, **kwargs), labels=None)
    assert "label" not in images.encode(
        dataclasses.replace(run, load_data=bare), limit=2, batch_size=4
    )


def test_tables_are_read_by_other_tools(arrays, tmp_path):
    images.write_table(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as file:
        assert set(file.files) == set(arrays)
        np.testing.assert_array_equal(file["draw_01"], arrays["draw_01"])
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    images.write_table(tmp_path / "a.parquet", arrays)
    table = pandas.read_parquet(tmp_path / "a.parquet")
    assert list(table.columns) == list(arrays)
    np.testing.assert_array_equal(table["label"], arrays["label"])
    np.testing.assert_array_equal(np.stack(table["mean_00"]), arrays["mean_00"].reshape(7, -1))


def test_tables_that_cannot_be_written_say_so(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"a.csv is no table: it must end in .npz or .parquet"):
        images.check_table(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="there is no folder"):
        images.check_table(tmp_path / "none" / "a.npz")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"a.parquet needs pyarrow, .* pip install"):
        images.check_table(tmp_path / "a.parquet")


def test_weights_come_back_as_the_same_model(run, tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    images.export(run, tmp_path / "model")
    model, variables = images.load_export(tmp_path / "model")
    assert model == run.model
    for name in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, variables[name], run.variables[name])
    weights = package.load_file(tmp_path / "model" / "model.safetensors")
    np.testing.assert_array_equal(weights["params/stem/bias"], run.params["stem"]["bias"])
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (about["step"], about["weights"]) == (4, "ema")

    about["model"]["latents"] += 1
    (tmp_path / "model" / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"model.safetensors does not fit its config: .* seen flo"):
        images.load_export(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        images.load_export(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json does not describe an NVAE"):
        images.load_export(tmp_path / "model")
