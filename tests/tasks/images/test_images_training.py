"""`jaxlab.tasks.images.training`, `jaxlab.train.saved`: an NVAE's optimizer, its figures and
pictures, and the run opened again."""

import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image
import pytest
from notebook import run_example

from jaxlab import data, mesh, optim, plots, train
from jaxlab.launch import config as configs
from jaxlab.metrics import read_metrics
from jaxlab.models import nvae
from jaxlab.tasks import images

RATES = {"num_steps": 10, "learning_rate": 0.1, "final_learning_rate": 0.01, "warmup_steps": 2}
RATES |= {"l2": 0.0}


def make_optimizer(**numbers):
    """That of the recipes, but for these numbers."""
    section = configs.load("configs/nvae/mnist.py").optimizer
    return optim.make_optimizer(**{**section, **numbers})


def test_the_rate_rises_and_falls_as_a_cosine():
    tx = make_optimizer(**RATES)
    params = jnp.zeros(())
    state, sizes = tx.init(params), []
    for _ in range(11):
        updates, state = tx.update(jnp.ones(()), state, params)
        sizes.append(-float(updates))
    first = 0.1 * np.array([0.0, 0.5])
    fall = 0.01 + 0.09 * 0.5 * (1 + np.cos(np.pi * np.arange(9) / 8))
    # Adamax of equal gradients is 1 in size, but for the 1e-3 in its denominator.
    np.testing.assert_allclose(sizes, np.concatenate([first, fall]), rtol=2e-3, atol=1e-6)


def test_decay_reaches_the_gradient_and_huge_steps_are_skipped():
    rates = {**RATES, "l2": 1e3, "warmup_steps": 0, "num_steps": 1000}
    tx, params = make_optimizer(**rates), jnp.ones(())
    update = jax.jit(tx.update)
    updates, state = update(jnp.full((), -1.0), tx.init(params), params)
    assert float(updates) < 0  # 1e3 * 1 - 1 is positive
    for _ in range(110):  # the guard learns what is usual first
        updates, state = update(jnp.full((), -1.0), state, params)
    assert float(updates) < 0
    updates, state = update(jnp.full((), 1e9), state, params)
    assert float(updates) == 0
    assert bool(optax.tree.get(state, "skipped"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup_steps": 10}, "warmup_steps is 10, must be below num_steps 10"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, must be above 0"),
        ({"final_learning_rate": -1.0}, "final_learning_rate is -1.0, must be at least 0"),
        ({"l2": -1.0}, "l2 is -1.0, must be at least 0"),
        ({"num_steps": 0}, "num_steps is 0, must be"),
    ],
)
def test_numbers_of_the_optimizer_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**{**RATES, **change})


def test_what_images_are_is_read_only_where_nothing_says_it(tmp_path):
    assert images.find_spec({"name": "mnist"}, "/nowhere") == data.SPECS["mnist"]
    with pytest.raises(ValueError, match="image_size is not given"):
        images.find_spec({"name": "npz"}, str(tmp_path))
    np.savez(tmp_path / "test.npz", images=np.zeros((3, 16, 16, 3), np.uint8))
    spec = images.find_spec({"name": "npz", "limit": 2}, str(tmp_path))
    assert (spec.image_size, spec.channels, spec.likelihood) == (16, 3, "mixture")


def test_held_out_images_are_those_of_the_config(trained):
    config = train.load_run(trained).config
    sets = images.load_sets({**config, "num_eval_images": 7})
    assert (len(sets.train), len(sets.held_out)) == (4500, 7)
    whole = data.load("mnist5k", split="validation", pad=2)
    np.testing.assert_array_equal(sets.held_out.images, whole.images[:7])


def test_a_run_leaves_figures_and_pictures(trained, tmp_path):
    names = {p.name for p in trained.iterdir()}
    pictures = {"samples.png", "reconstructions.png", "curves.png", "kl_per_group.png"}
    assert {"metrics.jsonl", "timing.jsonl", "checkpoints", "config.json"} | pictures <= names
    rows = [row for row in read_metrics(trained) if "eval/nelbo" in row]
    assert [row["step"] for row in rows] == [2, 4]
    row = rows[-1]
    assert row["eval/nelbo"] == pytest.approx(row["eval/reconstruction"] + row["eval/kl"])
    assert row["eval/kl"] == pytest.approx(row["eval/kl_00"] + row["eval/kl_01"])
    assert row["eval/bits_per_dim"] == pytest.approx(row["eval/nelbo"] / (784 * np.log(2)))
    assert row["eval/nelbo_raw"] != row["eval/nelbo"]
    blank = lambda count: np.zeros((count, 28, 28, 1))
    plots.image_grid(blank(64), tmp_path / "samples.png")
    plots.reconstruction_grid(blank(30), blank(30), tmp_path / "reconstructions.png")
    plots.bars(np.ones(2), tmp_path / "kl_per_group.png", ylabel="KL (nats)")
    for name in ("samples.png", "reconstructions.png", "kl_per_group.png"):
        shapes = [PIL.Image.open(folder / name).size for folder in (trained, tmp_path)]
        assert shapes[0] == shapes[1], name


def test_a_run_opens_in_one_line(trained):
    run = train.load_run(trained)
    assert (run.step, run.weights) == (4, "ema")
    assert run.config["data"].items() >= {"name": "mnist5k", "pad": 2}.items()
    assert len(run.load_data("validation", limit=5)) == 5
    drawn = run.model.apply(run.variables, 2, key=jax.random.key(0), method="sample")
    assert drawn.parameters.shape == (2, 32, 32, 1)
    raw = train.load_run(trained, params="raw", step=2, task="images")
    assert (raw.step, raw.weights) == (2, "raw")
    same = jax.tree.map(lambda a, b: bool((a == b).all()), run.params, raw.params)
    assert not all(jax.tree.leaves(same))
    rows = [row for row in read_metrics(trained) if "eval/nelbo" in row]
    best = min(rows, key=lambda row: row["eval/nelbo"])["step"]
    assert train.load_run(trained, step="best").step == best


def test_the_example_of_the_page(trained):
    found = run_example("nvae", trained)
    assert found["pictures"].shape == (8, 28, 28, 1)
    assert found["figures"]["images"] == 8


def test_records_without_a_task_are_known_by_their_words(trained, tmp_path):
    other = tmp_path / "run"
    shutil.copytree(trained, other)
    record = json.loads((trained / "config.json").read_text())
    del record["task"]
    (other / "config.json").write_text(json.dumps(record))
    assert train.load_run(other).step == 4
    for change, message in (
        ({"config": {"model": {"features": 3}}}, "names the task None"),
        ({"task": "cooking"}, "names the task 'cooking', there is no package"),
        ({"task": "os.path"}, "names the task 'os.path'"),
        ({"config": {"model": record["config"]["model"]}}, "the config lacks 'data'"),
    ):
        (other / "config.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(ValueError, match=message):
            train.load_run(other)
    with pytest.raises(ValueError, match="run of the task 'images', must be one of 'cooking'"):
        train.load_run(trained, task="cooking")
    with pytest.raises(ValueError, match="params is 'average', must be 'ema' or 'raw'"):
        train.load_run(trained, params="average")
    with pytest.raises(FileNotFoundError, match="no checkpoint 7"):
        train.load_run(trained, step=7)


@pytest.mark.parametrize("rows", [None, '{"step": 5, "nelbo": 1.0}\n'])
def test_a_run_without_evaluation_is_one_clear_line(tmp_path, rows):
    # As SIGTERM before the first evaluation, and then fewer steps, leave it.
    if rows is not None:
        (tmp_path / "metrics.jsonl").write_text(rows)
    with pytest.raises(ValueError, match=r"no evaluation in .*metrics\.jsonl: .* step 7 already"):
        images.conclude(tmp_path, step=7)


def test_a_blueprint_needs_no_data(trained):
    config = {**train.load_run(trained).config, "data": {"name": "mnist", "pad": 2}}
    described = images.blueprint(config, mesh.make_mesh(), "/nowhere")
    assert (described.num_steps, described.batch_size) == (4, 8)
    assert described.batch["image"].shape == (8, 32, 32, 1)
    state, _ = described.arguments()
    assert state.params["h"].ndim == 3


def test_weissi_and_flooding_reach_the_nvae_from_its_config(trained):
    """Stacked kernels of a scanned scale have a norm per layer; the loss is flooded."""
    config = configs.load("configs/nvae/mnist5k.py:tiny")
    section = {"optimizer.name": "sgd", "optimizer.learning_rate": 1.0, "optimizer.l2": None}
    section |= {"optimizer.eps": None, "optimizer.schedule": "constant", "optimizer.weissi": 0.1}
    section |= {"optimizer.final_learning_rate": None, "optimizer.warmup_steps": None}
    section |= {"optimizer.skip_factor": None, "optimizer.flooding": 1e9}
    for path, value in section.items():
        with config.optimizer.ignore_type():
            config.optimizer[path.split(".")[1]] = value
    _, run = images.build(config, data.image_spec(name="mnist5k", pad=2), None)
    section = config.optimizer.to_dict() | {"flooding": None}
    tx = optim.make_optimizer(**section, num_steps=1, stacked=nvae.stacked)
    params = train.load_run(trained).params
    zero = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(lambda z, p: tx.update(z, tx.init(p), p))(zero, params)
    (name,) = (n for n in params if n.startswith("group_") and n != "group_first")
    kernel = params[name]["merge"]["kernel"]
    for layer, moved in zip(kernel, updates[name]["merge"]["kernel"], strict=True):
        want = -0.1 * layer / jnp.sum(layer**2)
        np.testing.assert_allclose(moved, want, rtol=1e-4, atol=1e-7)
    assert not updates[name]["merge"]["bias"].any()
    assert "flooded" in jax.eval_shape(run.step, *run.arguments())[1]


def test_an_evaluation_that_is_not_finite_has_diverged(trained, tmp_path, monkeypatch):
    """With step and value, before pictures are drawn: a study records it and goes on."""
    opened = train.load_run(trained)
    devices, held_out = mesh.make_mesh(jax.devices()[:1]), opened.load_data("test", limit=4)
    monkeypatch.setattr(train, "evaluate_state", lambda *_, **__: {"nelbo": np.nan})
    eval_fn = images.make_eval_fn(opened.config, opened.model, held_out, devices, tmp_path)
    state = types.SimpleNamespace(step=3)
    with pytest.raises(train.NonFiniteError, match=r"^eval/nelbo is nan at step 3$"):
        eval_fn(state)
    monkeypatch.setattr(train, "evaluate_state", lambda *_, **__: {"nelbo": 1.0})
    state.ema_params = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), opened.params)
    state.model_state = opened.model_state
    with pytest.raises(train.NonFiniteError, match=r"^pixels of .* are not finite at step 3$"):
        eval_fn(state)
