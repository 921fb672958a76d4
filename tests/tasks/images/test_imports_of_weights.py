"""`jaxlab.tasks.images.imports`: weights of the published code as a run folder."""

import argparse
import json
import sys

import jax
import numpy as np
import pytest

from jaxlab import train
from jaxlab.errors import InputError
from jaxlab.launch import config as configs
from jaxlab.models import nvae
from jaxlab.models.nvae import parity, reference
from jaxlab.models.nvae.reference_names import reference_names
from jaxlab.tasks import images

FLAGS = {
    "dataset": "mnist",
    "num_latent_scales": 2,
    "num_groups_per_scale": 1,
    "num_latent_per_group": 2,
    "num_channels_enc": 4,
    "num_channels_dec": 4,
    "num_preprocess_blocks": 1,
    "num_preprocess_cells": 1,
    "num_postprocess_blocks": 1,
    "num_postprocess_cells": 1,
    "res_dist": True,
    "arch_instance": "res_bnswish",
}
COLOUR = {"dataset": "cifar10", "num_mixture_dec": 3, "num_x_bits": 5}


def weights(**changes):
    """{"state/NAME": array} as the published code would have it, by its layouts, and the flags."""
    flags = {**FLAGS, **changes}
    model = reference.model_from_flags(flags)
    shapes, rng, state = reference._shapes(model), np.random.default_rng(0), {}
    order = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0), 1: (0,)}
    for name, (collection, path) in reference_names(model).items():
        names = reference._names(path)
        shape = shapes[collection, names][len(path) - len(names) :]
        values = rng.normal(size=shape).astype(np.float32)
        state[f"state/{name}"] = values.transpose(order[len(shape)])
    return state, flags


@pytest.fixture(scope="module")
def grey():
    return weights()


@pytest.fixture(scope="module")
def colour():
    return weights(**COLOUR)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize(("which", "recipe"), [("grey", "mnist"), ("colour", "cifar10")])
def test_the_run_opens_as_the_model_that_was_imported(request, tmp_path, which, recipe):
    model, variables = nvae.load_reference(*request.getfixturevalue(which))
    config = configs.load(f"configs/nvae/{recipe}.py").to_dict()
    images.import_model(config, model, variables, tmp_path, data_dir="somewhere")
    run = train.load_run(tmp_path, task="images")
    assert (run.step, run.model.clone(remat="none", dtype=None)) == (0, model)
    assert equal(run.params, variables["params"])
    assert equal(run.model_state["batch_stats"], variables["batch_stats"])
    again = configs.load(str(tmp_path / "config.json")).to_dict()
    assert {**again, "model": None} == {**config, "model": None}
    built, _ = images.build(again, images.find_spec(again["data"]), None)
    assert built == run.model
    with pytest.raises(ValueError, match=r"holds a run already \(config.json\)"):
        images.import_model(config, model, variables, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds a run already \(checkpoints\)"):
        images.import_model(config, model, variables, tmp_path)


def test_data_that_do_not_fit_the_model_are_pictures_of_a_folder(grey, tmp_path):
    model, variables = nvae.load_reference(*grey)
    recipe = configs.load("configs/nvae/celeba64.py").to_dict()
    config = images.import_model(recipe, model, variables, tmp_path)
    spec = images.find_spec(config["data"])
    assert (spec.name, spec.shape, spec.pad) == ("folder", (32, 32, 1), 2)
    assert config["loss"] == recipe["loss"]
    recipe = configs.load("configs/nvae/mnist.py").to_dict()
    config = images.import_model(recipe, model, variables, tmp_path / "other", other_data=True)
    assert images.find_spec(config["data"]) == spec  # digits would fit a model of characters
    run = train.load_run(tmp_path)
    assert run.model.clone(remat="none", dtype=None) == model


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs import_nvae.py here; returns exit code and error lines."""
    import runpy

    from absl import flags
    from processes import ROOT

    def called(*args):
        names = set(flags.FLAGS)
        monkeypatch.setattr(sys, "argv", ["import_nvae.py", *map(str, args)])
        try:
            runpy.run_path(str(ROOT / "scripts" / "import_nvae.py"), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            for name in set(flags.FLAGS) - names:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
        return code, [s for s in capfd.readouterr().err.splitlines() if s.startswith("error")]

    return called


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * np.nan, "has values that are not finite"),
        (lambda x: x.astype(np.float64) + 1e300, "has values that are not finite"),
        (lambda x: x + 1j, "is complex64, must be real numbers"),
        (lambda x: x > 0, "is bool, must be real numbers"),
        (lambda x: x.astype(str), "is <U.*, must be real numbers"),
    ],
)
def test_weights_that_are_no_finite_real_numbers_are_refused(grey, change, message):
    state, flags = grey
    name = next(iter(state))
    with pytest.raises(InputError, match=rf"{name.removeprefix('state/')} {message}"):
        nvae.load_reference({**state, name: change(state[name])}, flags)


def save(path, state, flags):
    np.savez(path, config=np.array(json.dumps(flags)), **state)
    return f"--checkpoint={path}"


def test_wrong_files_are_one_line_and_nothing_is_written(grey, tmp_path, call, monkeypatch):
    state, flags = grey
    out = f"--workdir={tmp_path / 'run'}"
    name = next(iter(state))
    good = save(tmp_path / "good.npz", state, flags)
    other = save(tmp_path / "other.npz", state, {**flags, "num_latent_per_group": 3})
    cut = save(tmp_path / "cut.npz", {**state, name: state[name][:1]}, flags)
    np.savez(tmp_path / "bare.npz", **state)
    for given, message in (
        ([], "--checkpoint=FILE is required"),
        ([other], "reference weights do not fit"),
        ([cut], "which becomes"),
        ([f"--checkpoint={tmp_path / 'bare.npz'}"], "the file has no config"),
        ([f"--checkpoint={tmp_path / 'none.npz'}"], "none.npz is not a readable .npz file"),
        ([good, "--recipe=configs/nvae/none.py"], "no config file configs/nvae/none.py"),
    ):
        code, lines = call(out, *given)
        assert (code, len(lines)) == (2, 1), lines
        assert message in lines[0]
        assert not list((tmp_path / "run").iterdir())
    monkeypatch.setitem(sys.modules, "torch", None)
    code, lines = call(out, f"--checkpoint={tmp_path / 'checkpoint.pt'}")
    assert code == 2
    assert "needs torch, which is not installed: pip install 'jaxlab-research[parity]'" in lines[0]


def test_checkpoints_and_arrays_give_the_same_run(grey, tmp_path, call):
    torch = pytest.importorskip("torch")
    state, flags = grey
    tensors = {k.removeprefix("state/"): torch.tensor(v) for k, v in state.items()}
    content = {"state_dict": tensors, "args": argparse.Namespace(**flags)}
    torch.save(content, tmp_path / "checkpoint.pt")
    assert call(f"--checkpoint={tmp_path / 'checkpoint.pt'}", f"--workdir={tmp_path / 'a'}")[0] == 0
    assert call(save(tmp_path / "a.npz", state, flags), f"--workdir={tmp_path / 'b'}")[0] == 0
    a, b = (train.load_run(tmp_path / name) for name in "ab")
    assert equal(a.variables, b.variables)
    assert a.model == b.model


def test_the_stored_reference_arrays_give_their_runs(fixtures_dir, tmp_path):
    found = sorted(fixtures_dir.glob("nvae_reference_*.npz"))
    assert found
    for i, path in enumerate(found):
        arrays = parity.read(path)
        model, variables = nvae.load_reference(*parity.weights(arrays))
        name = "mnist" if model.channels == 1 else "cifar10"
        recipe = configs.load(f"configs/nvae/{name}.py").to_dict()
        images.import_model(recipe, model, variables, tmp_path / str(i))
        run = train.load_run(tmp_path / str(i))
        assert equal(run.variables, variables)
        assert run.model.clone(remat="none", dtype=None) == model
