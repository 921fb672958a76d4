"""The model that the reference's flags describe, and the names of its weights."""

import re

import jax
import numpy as np
import pytest

from jaxlab.models.nvae import reference
from jaxlab.models.nvae.reference import load_reference, to_ours
from jaxlab.models.nvae.reference_names import reference_names


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
        ({"dataset": "faces_²"}, "'faces_²'"),
        ({"dataset": 3}, "flag dataset is 3, must be of type str"),
        ({"num_latent_scales": "2"}, "flag num_latent_scales is '2', must be of type int"),
        ({"num_groups_per_scale": None}, "flag num_groups_per_scale is None, must be of type int"),
        ({"num_nf": True}, "flag num_nf is True, must be of type int"),
        ({"use_se": "yes"}, "flag use_se is 'yes', must be of type bool"),
        ({"groups_per_scale": 3}, "groups_per_scale is 3"),
        ([1], "flags are a list, must be values by name"),
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


RICH = {
    "use_se": True,
    "res_dist": True,
    "num_latent_scales": 2,
    "num_groups_per_scale": 2,
    "num_latent_per_group": 2,
    "num_channels_enc": 4,
    "num_channels_dec": 8,
    "num_preprocess_blocks": 1,
    "num_preprocess_cells": 2,
    "num_postprocess_blocks": 1,
    "num_postprocess_cells": 2,
    "num_cell_per_cond_enc": 2,
    "num_nf": 2,
}
# Where a name of the reference leaves the part of the network, and where ours does.
THEIR_INSIDE = re.compile(r"[.](_ops|se|skip|cell[12]|weight|bias|log_weight_norm)\b.*")
OUR_INSIDE = re.compile(r"(op_\d+|gate|skip|forward|backward|kernel|bias|g)$")


def parts(names):
    """{part in the reference: (part of ours, place in its stack)}, {name inside: ours inside}."""
    outside, inside = {}, {}
    for name, (collection, path) in names.items():
        place = path[-1] if isinstance(path[-1], int) else None
        path = [p for p in path if isinstance(p, str)]
        cut = next(i for i, p in enumerate(path) if OUR_INSIDE.match(p))
        head = THEIR_INSIDE.sub("", name)
        own = ".".join(path[:cut]) if place is None else f"{'.'.join(path[:cut])} {place}"
        assert outside.setdefault(head, own) == own
        inside.setdefault(head, {})[name[len(head) + 1 :]] = f"{collection} {'.'.join(path[cut:])}"
    return outside, inside


def test_the_parts_of_a_model_with_everything():
    """Two scales of two groups, two encoder cells and two flow pairs a group."""
    names = dict(reference_names(reference.model_from_flags(RICH, image_size=8)))
    assert names.pop("prior_ftr0") == ("params", ("h",))
    outside, _ = parts(names)
    assert outside == {
        "stem": "stem",
        "pre_process.0": "pre_0",
        "pre_process.1": "pre_1",
        "enc0.1": "top",
        # The decoder meets the features of a scale backwards.
        "enc_tower.0": "enc_0.cell_0 0",
        "enc_tower.1": "enc_0.cell_1 0",
        "enc_tower.2.conv": "group_0.combine 1",
        "enc_tower.3": "enc_0.cell_0 1",
        "enc_tower.4": "enc_0.cell_1 1",
        "enc_tower.5.conv": "group_0.combine 0",
        "enc_tower.6": "down_0",
        "enc_tower.7": "enc_1.cell_0 0",
        "enc_tower.8": "enc_1.cell_1 0",
        "enc_tower.9.conv": "group_1.combine 0",
        "enc_tower.10": "enc_1.cell_0 1",
        "enc_tower.11": "enc_1.cell_1 1",
        "dec_tower.0.conv": "group_first.merge",
        "dec_tower.1": "group_1.cell_0 0",
        "dec_tower.2.conv": "group_1.merge 0",
        "dec_tower.3": "up_0",
        "dec_tower.4": "group_0.cell_0 0",
        "dec_tower.5.conv": "group_0.merge 0",
        "dec_tower.6": "group_0.cell_0 1",
        "dec_tower.7.conv": "group_0.merge 1",
        "enc_sampler.0": "group_first.posterior",
        "enc_sampler.1": "group_1.posterior 0",
        "enc_sampler.2": "group_0.posterior 0",
        "enc_sampler.3": "group_0.posterior 1",
        "dec_sampler.0.1": "group_1.prior 0",
        "dec_sampler.1.1": "group_0.prior 0",
        "dec_sampler.2.1": "group_0.prior 1",
        "nf_cells.0": "group_first.flow_0",
        "nf_cells.1": "group_first.flow_1",
        "nf_cells.2": "group_1.flow_0 0",
        "nf_cells.3": "group_1.flow_1 0",
        "nf_cells.4": "group_0.flow_0 0",
        "nf_cells.5": "group_0.flow_1 0",
        "nf_cells.6": "group_0.flow_0 1",
        "nf_cells.7": "group_0.flow_1 1",
        "post_process.0": "post_0",
        "post_process.1": "post_1",
        "image_conditional.1": "head",
    }


def conv(theirs, ours, *, bias=True, gain=True):
    found = {f"{theirs}.weight": f"params {ours}.kernel"}
    found |= {f"{theirs}.bias": f"params {ours}.bias"} if bias else {}
    return found | ({f"{theirs}.log_weight_norm": f"params {ours}.g"} if gain else {})


def norm(theirs, ours):
    return {
        f"{theirs}.weight": f"params {ours}.scale",
        f"{theirs}.bias": f"params {ours}.bias",
        f"{theirs}.running_mean": f"batch_stats {ours}.mean",
        f"{theirs}.running_var": f"batch_stats {ours}.var",
    }


GATE = {
    "se.se.0.weight": "params gate.squeeze.kernel",
    "se.se.0.bias": "params gate.squeeze.bias",
    "se.se.2.weight": "params gate.excite.kernel",
    "se.se.2.bias": "params gate.excite.bias",
}


def branch(norm_name):
    return {
        key: value
        for i in (0, 1)
        for key, value in {
            **(norm(f"_ops.{i}.{norm_name}", f"op_{i}.norm") if norm_name else {}),
            **conv(f"_ops.{i}.conv_0", f"op_{i}.conv"),
        }.items()
    }


def inverted(first):
    """A reference's cell that upsamples does so in a module of its own, the first."""
    at = lambda i: f"_ops.0.conv.{first + i}"
    bare = {"bias": False, "gain": False}
    return {
        **norm(at(0), "op_0.norm_in"),
        **conv(f"{at(1)}.conv.0", "op_0.expand", **bare),
        **norm(f"{at(1)}.conv.1", "op_0.norm_expand"),
        **conv(f"{at(2)}.conv.0", "op_0.spatial", **bare),
        **norm(f"{at(2)}.conv.1", "op_0.norm_spatial"),
        **conv(at(3), "op_0.project", **bare),
        **norm(at(4), "op_0.norm_out"),
    }


def test_the_names_inside_of_every_kind_of_part():
    model = reference.model_from_flags(RICH, image_size=8)
    names = dict(reference_names(model))
    names.pop("prior_ftr0")
    _, inside = parts(names)
    plain = {"weight": "params kernel", "bias": "params bias", "log_weight_norm": "params g"}
    for name in ("stem", "enc0.1", "enc_sampler.2", "dec_sampler.0.1", "enc_tower.2.conv"):
        assert inside[name] == plain
    down = {}
    for i in range(4):
        down |= conv(f"skip.conv_{i + 1}", f"skip.phase_{i}")
    up = conv("skip.1", "skip.conv", bias=False)
    assert inside["pre_process.0"] == {**branch("bn_act"), **GATE}
    assert inside["pre_process.1"] == {**down, **branch("bn_act"), **GATE}
    assert inside["enc_tower.6"] == inside["pre_process.1"]
    assert inside["dec_tower.1"] == inside["post_process.1"] == {**inverted(0), **GATE}
    assert inside["dec_tower.3"] == inside["post_process.0"] == {**up, **inverted(1), **GATE}
    flow = {}
    for theirs, ours in (("cell1", "forward"), ("cell2", "backward")):
        flow |= conv(f"{theirs}.conv.convz.0", f"{ours}.expand", bias=False)
        flow |= conv(f"{theirs}.conv.convz.2", f"{ours}.spatial", bias=False)
        flow |= conv(f"{theirs}.mu.conv_0", f"{ours}.project")
    assert inside["nf_cells.0"] == flow
    for arch, norm_name in (("res_bnelu", "bn"), ("res_elu", None)):
        flags = {**RICH, "arch_instance": arch, "use_se": False}
        names = dict(reference_names(reference.model_from_flags(flags, image_size=8)))
        names.pop("prior_ftr0")
        _, inside = parts(names)
        assert inside["pre_process.0"] == inside["post_process.1"] == branch(norm_name)
        assert inside["dec_tower.3"] == {**up, **branch(norm_name)}


def test_a_single_group_has_no_towers():
    flags = {**RICH, "num_latent_scales": 1, "num_groups_per_scale": 1, "num_nf": 0}
    model = reference.model_from_flags(flags, image_size=8)
    outside, _ = parts(reference_names(model))
    assert outside == {
        "stem": "stem",
        "pre_process.0": "pre_0",
        "pre_process.1": "pre_1",
        "enc0.1": "top",
        "stem_decoder": "group_first.merge",
        "enc_sampler.0": "group_first.posterior",
        "post_process.0": "post_0",
        "post_process.1": "post_1",
        "image_conditional.1": "head",
    }


def theirs(shape, number):
    """An array that becomes one of the given shape, whose elements say where they were."""
    fractions = np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)
    ours = np.float32(number + fractions)
    if len(shape) == 4:
        return ours.transpose(3, 2, 0, 1)
    return ours.transpose(2, 0, 1) if len(shape) == 3 else ours.T


def is_stack(path):
    """Whether a leaf holds the weights of several groups."""
    return path[0].startswith(("enc_", "group_")) and path[0] != "group_first"


def test_every_weight_reaches_its_place(monkeypatch):
    """Each has a number of its own; the image size comes from the learned tensor h."""
    flags = {**RICH, "num_nf": 1, "num_cell_per_cond_enc": 1}
    model = reference.model_from_flags(flags, image_size=8)
    shapes = reference._shapes(model)
    monkeypatch.setattr(reference, "_shapes", lambda model: shapes)  # tracing takes a second
    arrays, want = {}, {}
    for number, (name, (collection, path)) in enumerate(reference_names(model).items(), 1):
        path = tuple(p for p in path if isinstance(p, str)), path[-1]
        path, place = path if isinstance(path[1], int) else (path[0], 0)
        array = theirs(shapes[collection, path][is_stack(path) :], number)
        gain = name.endswith("log_weight_norm")
        arrays["state/module." + name] = array[:, None, None, None] if gain else array
        want[collection, path, place] = number
    loaded, variables = load_reference(arrays, flags)
    assert loaded == model
    for collection, tree in variables.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            path = tuple(p.key for p in path)
            assert leaf.shape == shapes.pop((collection, path))
            assert leaf.dtype == np.float32
            for place, part in enumerate(leaf if is_stack(path) else [leaf]):
                at = np.arange(part.size).reshape(part.shape) / part.size
                np.testing.assert_allclose(
                    part, want.pop((collection, path, place)) + at, rtol=1e-6
                )
    assert not shapes
    assert not want


def test_layouts():
    array = np.arange(24.0)
    found = to_ours(array.reshape(4, 3, 2, 1), (2, 1, 3, 4))
    assert found.dtype == np.float32
    assert found.shape == (2, 1, 3, 4)
    assert found[1, 0, 2, 3] == array.reshape(4, 3, 2, 1)[3, 2, 1, 0]
    assert to_ours(array[:4].reshape(4, 1, 1, 1), (4,)).tolist() == [0, 1, 2, 3]
    assert to_ours(array[:4].reshape(4, 1, 1, 1), (1, 1, 1, 4)).shape == (1, 1, 1, 4)
    found = to_ours(array.reshape(2, 3, 4), (3, 4, 2))
    assert found[2, 3, 1] == array.reshape(2, 3, 4)[1, 2, 3]
    assert to_ours(array.reshape(4, 6), (6, 4)).tolist() == array.reshape(4, 6).T.tolist()
    assert to_ours(array, (24,)).tolist() == array.tolist()


def test_the_smallest_number_of_groups_and_what_h_is_for():
    flags = {"num_latent_scales": 3, "num_groups_per_scale": 2, "ada_groups": True}
    assert reference.model_from_flags(flags).groups == (2, 1, 1)
    assert reference.model_from_flags({**flags, "min_groups_per_scale": 2}).groups == (2, 2, 2)
    assert reference.model_from_flags({**flags, "groups_per_scale": [2, 1, 1]}).groups == (2, 1, 1)
    sizes = reference._image_size({"prior_ftr0": np.zeros((8, 2, 2))}, flags)
    assert sizes == 2 * 2**4  # two blocks before the scales, and two scales below the first
    assert reference._image_size({}, flags) is None
    one = {**RICH, "num_latent_scales": 1, "num_groups_per_scale": 1}
    count = len(reference_names(reference.model_from_flags(one, image_size=8)))
    bare = {"prior_ftr0": np.zeros((4, 4, 4)), "more": np.zeros(1)}
    with pytest.raises(ValueError, match=rf"\({count + 1} problems\): missing") as error:
        load_reference(bare, one)
    assert str(error.value).count("missing") == 8
    assert str(error.value).endswith("; ...")


SMALL = {"num_groups_per_scale": 2, "num_channels_enc": 4, "num_channels_dec": 4} | {
    f"num_{place}process_{part}": 1 for place in ("pre", "post") for part in ("blocks", "cells")
}


def test_arrays_of_odd_shapes_and_names_are_listed():
    with pytest.raises(ValueError, match="reference weights do not fit"):
        load_reference({"prior_ftr0": np.float32(0), "module": np.zeros(1)}, SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": [1], "args": None}, "another 'state_dict' or 'args'"),
        ({"state_dict": {"a": 3}, "args": None}, "another 'state_dict' or 'args'"),
        ({"state_dict": {}, "args": {"a": 1}}, "another 'state_dict' or 'args'"),
        ({"state_dict": {}, "args": re.compile("x")}, "not a readable checkpoint"),
    ],
)
def test_checkpoints_of_others_are_one_line(content, message, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"^\S*a\.pt .*{message}[^\n]*$"):
        reference.read_checkpoint(str(tmp_path / "a.pt"))
