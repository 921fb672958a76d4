"""Sizes, rates and numbers that make no sense are refused before anything is computed."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import data, optim
from jaxlab.errors import InputError
from jaxlab.models import bert, classifiers, nvae
from jaxlab.models.nvae.latent_inputs import group_inputs
from jaxlab.models.nvae.objective import kl_coefficient, penalty_coefficient

NAN, INF = float("nan"), float("inf")
SPEC = types.SimpleNamespace(image_size=32, channels=1, likelihood="mixture", bits=8, pad=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"groups": ()},
        {"groups": (0, 1)},
        {"groups": (2.5, 1)},
        {"groups": (2, -1)},
        {"groups": 3},
        *({name: bad} for name in ("latents", "enc_channels", "patch") for bad in (0, -1, 1.5)),
        {"dec_channels": 0},
        {"pre_cells": 0},
        {"flows": -1},
        {"blocks": -1},
        {"dec_cells": -1},
        {"bits": 0},
        {"bits": 9},
        {"num_mixtures": 0},
        {"channels": 0},
        {"crop": 16},
        {"crop": -1},
        {"clamp": 0.0},
        {"sigma_floor": -1.0},
        {"branch_scale": NAN},
        {"image_size": 0},
        {"arch": "res"},
    ],
)
def test_an_nvae_of_nonsense_is_refused(arguments):
    (name,) = arguments
    with pytest.raises(InputError, match=f"^{name}"):
        nvae.for_images(SPEC, **arguments)
    with pytest.raises(InputError, match=r"model has 'latent', must be one of: .*latents"):
        nvae.for_images(SPEC, latent=3)


BAD_LOSSES = {
    "kl_portion": (-1, NAN),
    "kl_constant": (-0.1, 1.1),
    "kl_minimum": (-0.1, NAN),
    "penalty": (NAN, -1e-2, INF, "big"),
    "penalty_init": (0.0, NAN),
    "spectral_iterations": (0, 1.5),
    "total_steps": (0, -5),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_an_nvae_loss_of_nonsense_is_refused(name):
    model = nvae.NVAE(32)
    for value in BAD_LOSSES[name]:
        with pytest.raises(InputError, match=f"{name} is"):
            nvae.make_loss(model, **({"total_steps": 10} | {name: value}))
    nvae.make_loss(model, total_steps=10, penalty=jnp.float32(0.1), kl_portion=np.float64(0.5))
    with pytest.raises(InputError, match="groups"):
        nvae.make_loss(nvae.NVAE(32, groups=(0,)), total_steps=1)


def test_coefficients_check_what_is_known():
    with pytest.raises(InputError, match="portion is -1"):
        kl_coefficient(0, 10, portion=-1)
    with pytest.raises(InputError, match="final is -1"):
        penalty_coefficient(0.5, final=-1.0)
    traced = jax.jit(lambda step: kl_coefficient(step, 10, portion=1.0, constant=0.0))(5)
    assert float(traced) == 0.5


@pytest.mark.parametrize("temperature", [-0.1, NAN, INF, (0.5, -1.0), (1.0,) * 3])
def test_temperatures_are_at_least_zero_and_one_for_each_group(temperature):
    noise = [jnp.zeros((2, 1, 4, 4, 1))]
    with pytest.raises(InputError, match="temperature"):
        group_inputs((2,), noise, temperature)
    group_inputs((2,), noise, (0.0, 0.5))
    jax.jit(lambda t: group_inputs((2,), noise, t)[0].temperature)(1.0)


def test_a_bound_of_no_samples_is_refused():
    for numbers in ({"num_samples": 0}, {"num_samples": 4, "chunk": 0}, {"num_samples": -1}):
        with pytest.raises(InputError, match="must be a whole number"):
            nvae.importance_bound(nvae.NVAE(32), **numbers)


BERT = {"vocab_size": 9, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "max_positions": 4}
BAD_BERTS = {
    **dict.fromkeys(("vocab_size", "num_layers", "intermediate_size"), (0, -4, 2.0, "four")),
    **dict.fromkeys(("hidden_size", "num_heads", "max_positions", "type_vocab_size"), (0, -1)),
    **dict.fromkeys(("dropout", "attention_dropout"), (1.0, 2.0, -0.1, NAN)),
    "norm_eps": (0.0, NAN),
    "init_scale": (-1.0,),
}


@pytest.mark.parametrize("name", BAD_BERTS)
def test_a_bert_of_nonsense_is_refused(name):
    for value in BAD_BERTS[name]:
        model = bert.Bert(**(BERT | {"intermediate_size": 8} | {name: value}))
        with pytest.raises(InputError, match=f"{name} is"):
            jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))


@pytest.mark.parametrize("numbers", [{"dropout": 1.0}, {"dropout": NAN}, {"num_labels": 0}])
def test_a_head_of_nonsense_is_refused(numbers):
    head = bert.SequenceClassifier(**({"num_labels": 2} | numbers))
    output = bert.BertOutput(jnp.zeros((1, 2, 8)), jnp.zeros((1, 8)))
    with pytest.raises(InputError, match=" is "):
        jax.eval_shape(head.init, jax.random.key(0), output)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *(("mlp", {"features": bad}) for bad in ((), (0,), (-3,), (8, 2.5), 8)),
        *(("resnet", {"widths": bad}) for bad in ((), (0,), (-3,))),
        ("resnet", {"blocks": 0}),
        ("resnet", {"stem_stride": 0}),
    ],
)
def test_a_classifier_of_nonsense_is_refused(kind, fields):
    (name,) = fields
    with pytest.raises(InputError, match=name):
        classifiers.make_classifier(kind, 3, **fields)
    model = classifiers.MODELS[kind](3, **fields)  # or when it is first used
    x = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(InputError, match=name):
        jax.eval_shape(lambda key: classifiers.init_variables(model, key, x), jax.random.key(0))


def test_fields_of_a_classifier_are_its_own():
    with pytest.raises(InputError, match="model 'mlp' has 'widths', must be one of: features"):
        classifiers.make_classifier("mlp", 3, widths=(8,))
    with pytest.raises(InputError, match="gains is 0"):
        classifiers.scale_kernels({"head": {"kernel": jnp.ones((1, 1))}}, (0.0,))


def test_a_batch_larger_than_the_data_is_reported(caplog):
    arrays = {"x": np.zeros((6, 2), np.float32), "label": np.zeros(6, np.int32)}
    data.array_pipeline(arrays, 6, seed=0)
    assert not caplog.records
    data.array_pipeline(arrays, 7, seed=0)
    assert "batch_size is 7, there are only 6 examples" in caplog.text
    for size in (0, -1):
        with pytest.raises(InputError, match=f"batch_size is {size}"):
            data.array_pipeline(arrays, size, seed=0)


def test_rates_and_decays_are_checked_and_schedules_are_not():
    for name, value in (("peak", NAN), ("peak", -1.0), ("peak", INF), ("warmup", NAN)):
        with pytest.raises(InputError, match=f"{name} is"):
            optim.warmup_linear_decay(**({"peak": 1.0, "num_steps": 3} | {name: value}))
    with pytest.raises(InputError, match="num_steps is 0, must be a whole number"):
        optim.warmup_linear_decay(1.0, 0)
    for name, value in (("b1", 1.0), ("b2", -0.1), ("b2", NAN), ("eps", -1.0), ("log_norm", NAN)):
        with pytest.raises(InputError, match=f"{name}|strength"):
            optim.adamw_weissi(0.1, **({"log_norm": 1.0} | {name: value}))
    with pytest.raises(InputError, match="learning_rate is -1"):
        optim.adamw_weissi(-1.0, log_norm=1.0)
    tx = optim.adamw_weissi(lambda step: 0.1 / (1 + step), log_norm=jnp.float32(1.0))
    params = jnp.ones((2, 2))
    assert jnp.isfinite(tx.update(params, tx.init(params), params)[0]).all()
