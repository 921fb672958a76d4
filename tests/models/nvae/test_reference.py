"""The model that the reference's flags describe, and the names of its weights."""

import pytest

from jaxlab.models.nvae import reference


def test_names_lose_what_depends_on_the_run():
    given = {
        "module.stem.weight": 0,
        "state/module._orig_mod.stem.bias": 1,
        "a._ops.0.bn.weight": 2,
        "b._ops.0.bn.bn.weight": 3,
        "c._ops.0.conv.1.bn.running_mean": 4,
        "d._ops.0.bn_act.bn.bias": 5,
        "e.bn.num_batches_tracked": 6,
        "f.weight_normalized": 7,
    }
    assert reference.canonical_names(given) == {
        "stem.weight": 0,
        "stem.bias": 1,
        "a._ops.0.bn.weight": 2,
        "b._ops.0.bn.weight": 3,
        "c._ops.0.conv.1.running_mean": 4,
        "d._ops.0.bn_act.bias": 5,
    }


def test_flags_have_the_defaults_of_the_reference():
    model = reference.model_from_flags({"dataset": "celeba_64", "num_latent_scales": 3})
    assert (model.image_size, model.channels, model.likelihood) == (64, 3, "mixture")
    assert (model.groups, model.latents, model.num_mixtures) == ((10, 10, 10), 20, 10)
    assert not model.squeeze_excitation
    assert not model.residual_posterior


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_preprocess_blocks": 1}, "must be equal"),
        ({"groups_per_scale": [2, 2]}, r"groups_per_scale is \[2, 2\]"),
        ({"dataset": "faces"}, "'faces'"),
    ],
)
def test_contradicting_flags(flags, message):
    with pytest.raises(ValueError, match=message):
        reference.model_from_flags(flags)


def test_every_default_is_that_of_the_published_command_line():
    """https://github.com/NVlabs/NVAE, the defaults of train.py, by what the model becomes."""
    model = reference.model_from_flags({})
    assert (model.image_size, model.channels, model.likelihood) == (32, 1, "bernoulli")
    assert (model.crop, model.edge, model.bits) == (2, "reference", 8)
    assert (model.groups, model.latents) == ((10,), 20)
    assert (model.enc_channels, model.dec_channels) == (32, 32)
    assert (model.blocks, model.pre_cells, model.post_cells) == (2, 3, 3)
    assert (model.enc_cells, model.dec_cells) == (1, 1)
    assert (model.num_mixtures, model.flows, model.arch) == (10, 0, "res_mbconv")


@pytest.mark.parametrize(
    ("dataset", "size", "channels"),
    [
        ("mnist", 32, 1),
        ("omniglot", 32, 1),
        ("cifar10", 32, 3),
        ("imagenet_32", 32, 3),
        ("celeba_64", 64, 3),
        ("celeba_256", 256, 3),
        ("ffhq", 256, 3),
    ],
)
def test_sizes_of_the_sets(dataset, size, channels):
    model = reference.model_from_flags({"dataset": dataset, "num_mixture_dec": 1})
    assert (model.image_size, model.channels) == (size, channels)
    assert model.likelihood == ("bernoulli" if channels == 1 else "normal")
    assert model.crop == (2 if channels == 1 else 0)
    assert reference.model_from_flags({"dataset": dataset}, image_size=16).image_size == 16
