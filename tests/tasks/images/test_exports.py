"""`jaxlab.tasks.images.exports`: what a finished run gives to other tools."""

import dataclasses
import json

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from jaxlab import train
from jaxlab.errors import DivergedError, InputError
from jaxlab.tasks import images
from jaxlab.tasks.images import exports


@pytest.fixture(scope="module")
def pictures(trained):
    return images.Pictures(train.load_run(trained), seed=3)


def read(folder):
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))])


def test_samples_are_those_of_the_model_on_the_noise_of_each(pictures, tmp_path):
    out = tmp_path / "a.npz"
    assert images.export_samples(pictures, out, 11, temperature=0.7, batch_size=5) == 11
    with np.load(out) as file:
        assert file.files == ["arr_0"]
        drawn = file["arr_0"]
    assert (drawn.dtype, drawn.shape) == (np.uint8, (11, 28, 28, 3))
    assert (drawn == drawn[..., :1]).all()  # grey
    run, model = pictures.run, pictures.run.model
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(3), i))[0] for i in (0, 10)]
    noise = [
        np.stack(group) for group in zip(*(exports.noise_of(model, k) for k in keys), strict=True)
    ]
    output = jax.jit(lambda v: model.apply(v, noise=noise, temperature=0.7, method="top_down"))
    want = np.asarray(model.observation.mean(output(run.variables).parameters)) * 255
    assert np.abs(drawn[[0, 10], ..., :1] - want).max() <= 0.51
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() > 0


def test_a_folder_gets_what_is_missing_the_same_in_any_order(pictures, tmp_path):
    export = lambda name, num, **kwargs: images.export_samples(
        pictures, tmp_path / name, num, batch_size=4, **kwargs
    )
    assert export("whole", 18) == 18
    whole = read(tmp_path / "whole")
    assert whole.shape == (18, 28, 28)
    assert sorted(p.name for p in (tmp_path / "whole").iterdir())[-2:] == [
        "000017.png",
        "samples.json",
    ]
    assert export("parts", 3) == 3
    assert export("parts", 18) == 15
    (tmp_path / "parts" / "000009.png").unlink()
    before = (tmp_path / "parts" / "000012.png").stat().st_mtime_ns
    assert export("parts", 18) == 1
    assert (tmp_path / "parts" / "000012.png").stat().st_mtime_ns == before
    assert export("parts", 18) == 0
    np.testing.assert_array_equal(read(tmp_path / "parts"), whole)
    with pytest.raises(ValueError, match="holds 18 samples, num is 17"):
        export("parts", 17)
    with pytest.raises(ValueError, match=r"holds samples of temperature 1.0, not 0.5: choose"):
        export("parts", 18, temperature=0.5)
    params = jax.tree.map(lambda x: x + 1, pictures.run.params)
    other = images.Pictures(dataclasses.replace(pictures.run, params=params), seed=4)
    with pytest.raises(ValueError, match=r"weights 'ema of step 4, .*; seed 3, not 4: choose"):
        images.export_samples(other, tmp_path / "parts", 18)
    (tmp_path / "parts" / "samples.json").unlink()
    with pytest.raises(ValueError, match="holds 18 pictures of others"):
        export("parts", 18)
    with pytest.raises(ValueError, match=r"samples go to a folder or FILE\.npz, not to \.npy"):
        export("parts.npy", 18)


def test_true_samples_are_draws_around_the_mean(pictures, tmp_path):
    images.export_samples(pictures, tmp_path / "mean.npz", 4, batch_size=4)
    images.export_samples(pictures, tmp_path / "true.npz", 4, batch_size=4, likelihood=True)
    mean, true = (np.load(tmp_path / f"{n}.npz")["arr_0"] / 255 for n in ("mean", "true"))
    assert set(np.unique(true)) == {0.0, 1.0}
    p = mean[..., 0].ravel()
    error = (true[..., 0].ravel() - p).sum() / np.sqrt((p * (1 - p)).sum())
    assert abs(error) < 5
    assert not (true[0] == true[1]).all()


def test_statistics_are_measured_at_the_temperature(pictures, tmp_path):
    fresh = images.Pictures(pictures.run, seed=3, reestimate=1)
    images.export_samples(fresh, tmp_path / "fresh.npz", 2, temperature=0.5, batch_size=4)
    images.export_samples(pictures, tmp_path / "kept.npz", 2, temperature=0.5, batch_size=4)
    fresh_, kept = (np.load(tmp_path / f"{n}.npz")["arr_0"] for n in ("fresh", "kept"))
    assert not np.array_equal(fresh_, kept)
    images.export_samples(fresh, tmp_path / "two.npz", 2, temperature=[0.5, 1.0], batch_size=4)
    assert not np.array_equal(np.load(tmp_path / "two.npz")["arr_0"], fresh_)
    with pytest.raises(ValueError, match="temperature has 3 values, the model 2 groups"):
        images.export_samples(fresh, tmp_path / "two", 2, temperature=[0.5, 1.0, 1.0])
    with pytest.raises(ValueError, match="temperature has 3 values, the model 2 groups"):
        images.export_samples(pictures, tmp_path / "two", 2, temperature=[0.5, 1.0, 1.0])
    assert images.export_samples(pictures, tmp_path / "two", 2, temperature=[0.5, 1]) == 2


def test_samples_that_are_not_finite_are_not_written(pictures, tmp_path):
    broken = jax.tree.map(lambda x: x * np.nan, pictures.run.params)
    run = dataclasses.replace(pictures.run, params=broken)
    with pytest.raises(DivergedError, match="samples 0 to 7 are not finite"):
        images.export_samples(images.Pictures(run), tmp_path / "a.npz", 2, batch_size=4)
    assert not list(tmp_path.iterdir())


def test_a_folder_to_share_opens_as_the_run_it_was(trained, tmp_path):
    pytest.importorskip("safetensors")
    run = train.load_run(trained)
    figures = images.evaluate(run, "validation", limit=8, num_samples=2, batch_size=8)
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.json").write_text((trained / "config.json").read_text())
    (workdir / "evaluation_validation.json").write_text(json.dumps(figures))
    row = {"t = 1": {"frechet": 2.5, "confident": 0.5, "pictures": 9}}
    quality = {"step": run.step, "weights": run.weights, "seed": 0, **row}
    (workdir / "quality.json").write_text(json.dumps(quality))
    out = tmp_path / "digits"
    images.write_card(run, workdir, out, data_licence="CC0")
    again = train.load_run(out)
    assert (again.step, again.weights, again.model) == (run.step, run.weights, run.model)
    chex.assert_trees_all_equal(again.variables, run.variables)
    found = images.evaluate(again, "validation", limit=8, num_samples=2, batch_size=8)
    assert found == figures
    card = (out / "README.md").read_text()
    for text in (f"{figures['nelbo']:.2f} +- ", f"| {figures['bound']:.2f}", "CC0", "2.500"):
        assert text in card
    with pytest.raises(InputError, match="holds only step"):
        train.load_run(out, step=1)
    # Figures of other batch statistics, or of no known step, are not the card's.
    (workdir / "evaluation_validation.json").write_text(json.dumps({**figures, "refresh": 5}))
    (workdir / "quality.json").write_text(json.dumps(row))
    images.write_card(run, workdir, out)
    card = (out / "README.md").read_text()
    assert "| validation |" not in card
    assert "2.500" not in card


def test_a_model_that_is_not_finite_is_refused(trained, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    run = train.load_run(trained)
    images.export(run, tmp_path)
    whole = safetensors.load_file(tmp_path / "model.safetensors")
    variance = next(name for name in whole if name.endswith("/var"))
    for name, value in (("params/stem/bias", np.nan), (variance, np.inf), (variance, -1.0)):
        safetensors.save_file(
            {**whole, name: np.full_like(whole[name], value)}, tmp_path / "model.safetensors"
        )
        with pytest.raises(InputError, match=rf"model.safetensors: {name} holds values that"):
            images.load_export(tmp_path)


def test_an_export_replaces_no_run_and_no_file_of_others(trained, tmp_path):
    pytest.importorskip("safetensors")
    run = train.load_run(trained)
    before = (trained / "config.json").read_text()
    with pytest.raises(InputError, match=r"holds a run \(checkpoints\): export to another folder"):
        images.write_card(run, trained, trained)
    assert (trained / "config.json").read_text() == before
    assert not (trained / "model.safetensors").exists()
    (tmp_path / "config.json").write_text('{"task": "images", "config": {}}')
    with pytest.raises(InputError, match=r"config.json is not that of an exported model"):
        images.export(run, tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(InputError, match=r"holds a run \(metrics.jsonl\)"):
        images.export(run, tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    images.export(run, tmp_path)
    images.export(run, tmp_path)  # again: it replaces its own


def test_a_card_takes_one_image_and_refuses_files_of_others(trained, tmp_path):
    pytest.importorskip("safetensors")
    run = train.load_run(trained)
    workdir, out = tmp_path / "run", tmp_path / "out"
    workdir.mkdir()
    (workdir / "config.json").write_text((trained / "config.json").read_text())
    figures = {"step": run.step, "weights": run.weights, "split": "test", "images": 1}
    figures |= {"nelbo": 80.5, "nelbo_se": None, "bound": 79.0, "bound_se": None}
    figures |= {"bound_samples": 2}
    good = json.dumps(figures)
    (workdir / "evaluation_test.json").write_text(good)
    images.write_card(run, workdir, out)
    assert "| test | 1 | 80.50 +- - | 79.00 +- - | 2 |" in (out / "README.md").read_text()
    for name in ("quality.json", "evaluation_test.json"):
        for text in ("{}", "[]", "null", json.dumps({"step": run.step, "t = 1": {}})):
            (workdir / name).write_text(text)
            with pytest.raises(InputError, match=rf"{name} is not what evaluate_nvae.py writes"):
                images.write_card(run, workdir, tmp_path / "none")
            (workdir / name).unlink()
    assert not (tmp_path / "none").exists()
