"""`jaxlab.models.nvae.parity`: agreement with the reference: stored arrays, and an independent
restatement in PyTorch."""

import argparse
import importlib
import json

import numpy as np
import pytest

from jaxlab.models.nvae import parity, reference

TINY = {
    "dataset": "cifar10",
    "use_se": True,
    "res_dist": True,
    "num_x_bits": 8,
    "num_latent_scales": 2,
    "num_groups_per_scale": 2,
    "num_latent_per_group": 4,
    "ada_groups": True,
    "min_groups_per_scale": 1,
    "num_channels_enc": 8,
    "num_channels_dec": 8,
    "num_preprocess_blocks": 1,
    "num_preprocess_cells": 2,
    "num_cell_per_cond_enc": 1,
    "num_postprocess_blocks": 1,
    "num_postprocess_cells": 2,
    "num_cell_per_cond_dec": 1,
    "num_mixture_dec": 2,
    "num_nf": 0,
    "arch_instance": "res_mbconv",
}

QUICK = {
    "mixture_5_bits": {"num_mixture_dec": 10, "num_x_bits": 5},
    "flows_plain_posterior": {
        **{"dataset": "mnist", "num_nf": 2, "res_dist": False},
        **{"num_latent_scales": 1, "num_preprocess_cells": 1, "num_postprocess_cells": 1},
    },
}
SLOW = {
    "flows_plain_posterior_two_scales": {"dataset": "mnist", "num_nf": 2, "res_dist": False},
    "mixture_8_bits": {"num_mixture_dec": 10},
    "normal": {"num_mixture_dec": 1},
    "omniglot": {"dataset": "omniglot"},
    "one_flow": {"num_nf": 1},
    "two_flows_residual": {"dataset": "mnist", "num_nf": 2},
    "three_scales": {"num_latent_scales": 3, "num_groups_per_scale": 4},
    "three_scales_at_least_two": {
        "num_latent_scales": 3,
        "num_groups_per_scale": 4,
        "min_groups_per_scale": 2,
    },
    "three_scales_alike": {"num_latent_scales": 3, "ada_groups": False},
    "many_cells": {
        "num_cell_per_cond_enc": 2,
        "num_cell_per_cond_dec": 3,
        "num_preprocess_cells": 3,
        "num_postprocess_cells": 1,
    },
    "no_squeeze_excitation": {"use_se": False},
    "plain_posterior": {"res_dist": False},
    "single_group": {"num_latent_scales": 1, "num_groups_per_scale": 1},
    "single_group_flows": {
        "dataset": "mnist",
        "num_latent_scales": 1,
        "num_groups_per_scale": 1,
        "num_nf": 1,
    },
    "one_scale": {"num_latent_scales": 1, "num_groups_per_scale": 3},
    "one_group_a_scale": {"num_groups_per_scale": 1},
    "odd_widths": {"num_channels_enc": 9, "num_channels_dec": 14, "num_latent_per_group": 5},
    "wide_encoder": {"num_channels_enc": 22, "num_channels_dec": 6, "num_latent_per_group": 3},
    "two_blocks": {
        "num_latent_scales": 1,
        "num_preprocess_blocks": 2,
        "num_postprocess_blocks": 2,
    },
}
ARCHS = (
    "res_bnswish",
    "res_bnelu",
    "res_elu",
    "mbconv_sep",
    "mbconv_sep11",
    "mbconv_res",
    "mbconv_den",
    "res53_mbconv",
    "res35_mbconv",
    "res55_mbconv",
)


def restatement():
    """The PyTorch model; tests that need it are skipped without torch."""
    torch = pytest.importorskip("torch", reason="the PyTorch restatement needs torch")
    torch.set_num_threads(1)  # the models are too small for more
    return importlib.import_module("torch_restatement")


def failures(errors):
    return {name: error for name, error in errors.items() if not error <= parity.tolerance(name)}


def stored(fixtures_dir):
    with np.load(fixtures_dir / "nvae_reference_mnist.npz") as file:
        return {name: file[name] for name in file.files}


def evaluation_only(arrays):
    return {k: v for k, v in arrays.items() if not k.startswith(("train/", "sample/"))}


def test_stored_arrays_agree(fixtures_dir):
    errors = parity.compare(stored(fixtures_dir))
    assert not failures(errors)
    assert {"eval/logits", "eval/kl", "sample/logits", "train/total", "train/after"} <= set(errors)
    assert max(errors.values()) < 2e-4  # far from the tolerances


def test_stored_arrays_agree_with_the_restatement(fixtures_dir):
    module = restatement()
    torch = pytest.importorskip("torch")
    arrays = stored(fixtures_dir)
    model = module.Model(json.loads(str(arrays["config"])), 32)
    weights = {k[6:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("state/")}
    model.load_state_dict(weights)  # strict: every name and shape is the reference's
    eps = [torch.tensor(arrays[f"eps/{i}"]) for i in range(3)]
    ours = module.measure(model, torch.tensor(arrays["input/x"]), eps)
    assert set(ours) == {k for k in arrays if k.split("/")[0] in ("eval", "sample", "train")}
    assert not failures(
        {k: parity._error(k, arrays[k], value, arrays) for k, value in ours.items()}
    )


def mirror(array):
    return array[..., ::-1].copy()


@pytest.mark.parametrize(
    ("name", "change", "quantity"),
    [
        pytest.param(
            "state/dec_tower.2._ops.0.conv.2.conv.0.weight",
            mirror,
            "eval/logits",
            marks=pytest.mark.slow,  # the script sees it in the fast suite
        ),
        pytest.param(
            "state/enc_tower.1.conv.bias", np.zeros_like, "eval/kl", marks=pytest.mark.slow
        ),
        pytest.param(
            "eval/recon_loss", lambda x: 1.001 * x, "eval/recon_loss", marks=pytest.mark.slow
        ),
    ],
)
def test_tampered_arrays_are_seen(fixtures_dir, name, change, quantity):
    arrays = evaluation_only(stored(fixtures_dir))
    arrays[name] = change(arrays[name])
    assert quantity in failures(parity.compare(arrays))


def test_not_a_number_is_seen(fixtures_dir):
    arrays = evaluation_only(stored(fixtures_dir))
    broken = arrays | {"eval/logits": np.full_like(arrays["eval/logits"], np.nan)}
    assert "eval/logits" in failures(parity.compare(broken))
    broken = arrays | {"state/stem.bias": np.full_like(arrays["state/stem.bias"], np.nan)}
    with pytest.raises(ValueError, match=r"stem\.bias has values that are not finite"):
        parity.compare(broken)


def test_weights_that_do_not_fit_are_listed(fixtures_dir):
    arrays = stored(fixtures_dir)
    flags = json.loads(str(arrays["config"]))
    state = {k: v for k, v in arrays.items() if k.startswith("state/")}
    del state["state/stem.bias"]
    state["state/stem.bais"] = np.zeros(16)
    state["state/enc0.1.weight"] = np.zeros((128, 64, 1, 1))
    state["state/enc0.1.log_weight_norm"] = np.zeros((128, 2, 1, 1))
    with pytest.raises(ValueError, match="4 problems") as error:
        reference.load_reference(state, flags)
    for part in (
        "missing stem.bias",
        "unexpected stem.bais",
        "enc0.1.weight has shape (128, 64, 1, 1), which becomes (1, 1, 64, 128), not (1, 1, 128",
        "enc0.1.log_weight_norm has shape (128, 2, 1, 1)",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": None}, "the file has no config"),
        ({"config": np.array("flags")}, "not the JSON text"),
        ({"eps/2": None}, "the file has no eps/2"),
        ({"eps/2": np.zeros((4, 20, 4, 4), np.float32)}, r"eps/2 has shape \(4, 20, 4, 4\)"),
        ({"input/x": np.zeros((4, 1, 28, 28), np.float32)}, "input/x has shape"),
    ],
)
def test_broken_files_say_what_is_wrong(fixtures_dir, change, message):
    arrays = {**evaluation_only(stored(fixtures_dir)), **change}
    arrays = {name: value for name, value in arrays.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        parity.compare(arrays)


@pytest.mark.parametrize("name", QUICK)
def test_agrees_with_the_restatement(name):
    errors = parity.compare(restatement().parity_arrays({**TINY, **QUICK[name]}))
    assert not failures(errors)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_variant_agrees_with_the_restatement(name):
    errors = parity.compare(restatement().parity_arrays({**TINY, **SLOW[name]}))
    assert not failures(errors)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_agrees_with_the_restatement(arch):
    errors = parity.compare(restatement().parity_arrays({**TINY, "arch_instance": arch}))
    assert not failures(errors)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["res_mbconv", "res_bnelu"])
def test_synchronised_norms_agree_with_the_restatement(arch):
    flags = {**TINY, "arch_instance": arch}
    arrays = restatement().parity_arrays(flags, sync_norm=True)
    assert any(name.endswith(".bn.running_mean") for name in arrays)
    assert not failures(parity.compare(arrays))


@pytest.mark.slow
def test_without_balancing_at_the_end_of_the_warm_up():
    arrays = restatement().parity_arrays(TINY, beta=1.0, weight=0.1)
    assert not failures(parity.compare(arrays))


def test_checkpoint_round_trip(tmp_path):
    module = restatement()
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    flags = {**TINY, "num_nf": 1, "save": "/runs/1", "distributed": True}
    module.perturb(model := module.Model(flags, 16))
    weights = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    path = str(tmp_path / "checkpoint.pt")
    extras = {"epoch": 3, "optimizer": {"state": {}}, "global_step": 7}
    torch.save({"state_dict": weights, "args": argparse.Namespace(**flags), **extras}, path)

    arrays, read_flags = reference.read_checkpoint(path)
    assert read_flags == flags
    loaded, variables = reference.load_reference(arrays, read_flags)
    assert (loaded.image_size, loaded.flows) == (16, 1)
    kernel = variables["params"]["stem"]["kernel"]
    np.testing.assert_array_equal(kernel, model.stem.weight.detach().permute(2, 3, 1, 0).numpy())

    with open(path, "rb") as file:
        content = file.read()
    (tmp_path / "half.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        reference.read_checkpoint(str(tmp_path / "half.pt"))
    torch.save({"state_dict": weights}, tmp_path / "bare.pt")
    with pytest.raises(ValueError, match="has no 'args'"):
        reference.read_checkpoint(str(tmp_path / "bare.pt"))


def test_errors_are_relative_and_tolerances_those_of_the_quantity():
    assert parity.tolerance("train/grad_norm") == 1e-3
    assert parity.tolerance("train/total") == parity.tolerance("eval/kl") == 1e-4
    error = lambda theirs, ours: parity._error("eval/kl", np.array(theirs), np.array(ours), {})
    assert error([1.0, -4.0], [1.5, -4.0]) == pytest.approx(0.5 / 4)
    assert error([0.0, 0.0], [0.0, 0.0]) == 0
    assert error([0.0], [1e-13]) == pytest.approx(0.1)
    norms = {"train/grad_norm/a": 2000.0, "train/grad_norm/b": 0.5, "train/total": 1e9}
    error = lambda theirs, ours: parity._error("train/grad_norm/b", theirs, ours, norms)
    assert error(0.5, 0.75) == pytest.approx(0.25 / 2)  # a thousandth of the largest
    assert error(-1, 0.25) == 0.25  # no gradient there
    assert error(4.0, 5.0) == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"eval/kl has shape \(2,\) in the file, \(1,\) here"):
        parity._error("eval/kl", np.zeros(2), np.zeros(1), {})
