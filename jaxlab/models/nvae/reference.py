"""Import of weights trained with the published NVAE code.

A reference state dict is a flat map from PyTorch names to arrays (convolutions OIHW, linear
layers (out, in)). `load_reference` turns it into this package's model and variables; names it
does not know, or misses, are an error.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.errors import InputError, missing
from jaxlab.models.nvae.building import groups_per_scale
from jaxlab.models.nvae.model import NVAE
from jaxlab.models.nvae.reference_names import Target, reference_names

BINARY_SETS = ("mnist", "omniglot")

_DEFAULTS = {
    "dataset": "mnist",
    "use_se": False,
    "res_dist": False,
    "num_x_bits": 8,
    "num_latent_scales": 1,
    "num_groups_per_scale": 10,
    "num_latent_per_group": 20,
    "ada_groups": False,
    "min_groups_per_scale": 1,
    "num_channels_enc": 32,
    "num_channels_dec": 32,
    "num_preprocess_blocks": 2,
    "num_preprocess_cells": 3,
    "num_cell_per_cond_enc": 1,
    "num_postprocess_blocks": 2,
    "num_postprocess_cells": 3,
    "num_cell_per_cond_dec": 1,
    "num_mixture_dec": 10,
    "num_nf": 0,
    "arch_instance": "res_mbconv",
}


def model_from_flags(flags: Mapping[str, Any], *, image_size: int | None = None) -> NVAE:
    """The model that the reference builds from its command-line flags.

    Args:
      flags: flags by name, without dashes; what is missing has the reference's default, what is
        not about the model is ignored. "groups_per_scale" (finest first), where given, must
        agree with the flags that determine it.
      image_size: of the padded input; None takes it from the name of the data set.

    Raises:
      ValueError: for values that contradict each other or are unknown.
    """
    flags = _checked(flags)
    if flags["num_preprocess_blocks"] != flags["num_postprocess_blocks"]:
        raise InputError(
            f"num_preprocess_blocks is {flags['num_preprocess_blocks']} and "
            f"num_postprocess_blocks {flags['num_postprocess_blocks']}; they must be equal"
        )
    groups = groups_per_scale(
        flags["num_latent_scales"],
        flags["num_groups_per_scale"],
        adaptive=flags["ada_groups"],
        minimum=flags["min_groups_per_scale"],
    )
    if not np.array_equal(flags.get("groups_per_scale", groups), groups):
        raise InputError(f"groups_per_scale is {flags['groups_per_scale']}, flags give {groups}")
    binary = flags["dataset"] in BINARY_SETS
    normal = flags["num_mixture_dec"] == 1
    return NVAE(
        image_size=image_size or _size_of(flags["dataset"]),
        likelihood="bernoulli" if binary else "normal" if normal else "mixture",
        channels=1 if binary else 3,
        bits=flags["num_x_bits"],
        num_mixtures=flags["num_mixture_dec"],
        edge="reference",
        crop=2 if binary else 0,
        groups=groups,
        latents=flags["num_latent_per_group"],
        enc_channels=flags["num_channels_enc"],
        dec_channels=flags["num_channels_dec"],
        blocks=flags["num_preprocess_blocks"],
        pre_cells=flags["num_preprocess_cells"],
        post_cells=flags["num_postprocess_cells"],
        enc_cells=flags["num_cell_per_cond_enc"],
        dec_cells=flags["num_cell_per_cond_dec"],
        arch=flags["arch_instance"],
        squeeze_excitation=flags["use_se"],
        residual_posterior=flags["res_dist"],
        flows=flags["num_nf"],
    )


def _checked(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags with the reference's defaults, each of its default's type."""
    if not isinstance(flags, Mapping):
        raise InputError(f"flags are a {type(flags).__name__}, must be values by name")
    found = {**_DEFAULTS, **flags}
    for name, default in _DEFAULTS.items():
        value, kind = found[name], type(default)
        if not isinstance(value, np.integer if kind is int else kind) and type(value) is not kind:
            raise InputError(f"flag {name} is {value!r}, must be of type {kind.__name__}")
    return found


def _size_of(dataset: str) -> int:
    sizes = {"mnist": 32, "omniglot": 32, "cifar10": 32, "ffhq": 256}
    if dataset in sizes:
        return sizes[dataset]
    tail = dataset.rsplit("_", 1)[-1]
    if not (tail.isdecimal() and tail.isascii()):
        raise InputError(f"dataset is {dataset!r}, whose image size is unknown; give image_size")
    return int(tail)


def to_ours(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Lays a reference array out as a leaf of the given shape: OIHW to HWIO, g flat, and so on."""
    array = np.asarray(array, np.float32)
    if array.ndim == 4 and len(shape) == 4:
        return array.transpose(2, 3, 1, 0)
    if array.shape[1:] == (1, 1, 1) and len(shape) == 1:
        return array.reshape(-1)
    if array.ndim == 3:
        return array.transpose(1, 2, 0)
    return array.T if array.ndim == 2 else array


def canonical_names(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Strips prefixes and wrappers that depend on how the reference was run.

    Dropped are batch counters, aliases of weights, and the prefixes "state/", "module." and
    "_orig_mod."; a synchronised batch norm's inner ".bn" disappears.
    """
    names = {}
    for name, array in arrays.items():
        if name.endswith((".num_batches_tracked", ".weight_normalized")):
            continue
        parts = name.removeprefix("state/").split(".")
        while parts[:1] in (["module"], ["_orig_mod"]):
            parts.pop(0)
        # "_ops.0.bn.weight" is a batch norm of its own, in a cell of the BN-ELU kind.
        if parts[-2:-1] == ["bn"] and parts[-4:-3] != ["_ops"]:
            parts.pop(-2)
        names[".".join(parts)] = array
    return names


def load_reference(arrays: Mapping[str, Any], flags: Mapping[str, Any]) -> tuple[NVAE, dict]:
    """Maps a reference state dict to a model and its variables.

    Args:
      arrays: PyTorch name (optionally behind "state/" or "module.") to array.
      flags: the reference's flags, see `model_from_flags`.

    Returns:
      (model, {"params": ..., "batch_stats": ...}); the model keeps the reference's edge rule.

    Raises:
      ValueError: listing names that are missing, unexpected, of another shape, or not of finite
        real numbers.
    """
    arrays = canonical_names(arrays)
    model = model_from_flags(flags, image_size=_image_size(arrays, flags))
    names = reference_names(model)
    shapes = _shapes(model)
    problems = [f"missing {n}" for n in names if n not in arrays]
    spare = {"prior_ftr0"} if model.num_groups == 1 else set()  # there, h is never used
    problems += [f"unexpected {n}" for n in arrays if n not in names and n not in spare]
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, (collection, path) in names.items():
        if name not in arrays:
            continue
        wanted = shapes[collection, _names(path)][len(path) - len(_names(path)) :]
        dtype = np.asarray(arrays[name]).dtype
        if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
            problems.append(f"{name} is {dtype}, must be real numbers")
            continue
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf
            array = to_ours(arrays[name], wanted)
        if not np.isfinite(array).all():
            problems.append(f"{name} has values that are not finite")
        if array.shape != wanted:
            shape = np.shape(arrays[name])
            problems.append(f"{name} has shape {shape}, which becomes {array.shape}, not {wanted}")
        _insert(variables[collection], path, array)
    if problems:
        shown = "; ".join(problems[:8]) + ("; ..." if len(problems) > 8 else "")
        raise InputError(f"reference weights do not fit ({len(problems)} problems): {shown}")
    return model, _stacked(variables)


def _image_size(arrays, flags) -> int | None:
    """The learned tensor h gives the size of the images, whatever the data set was called."""
    shape = np.shape(arrays.get("prior_ftr0", 0))
    if not shape:
        return None
    flags = _checked(flags)
    return int(shape[-1]) * 2 ** (flags["num_preprocess_blocks"] + flags["num_latent_scales"] - 1)


def _shapes(model: NVAE) -> dict[Target, tuple[int, ...]]:
    size = (2, model.image_size, model.image_size, model.channels)
    variables = jax.eval_shape(
        lambda key: model.init(key, jax.numpy.zeros(size), key=key, train=True), jax.random.key(0)
    )
    return {
        (collection, tuple(p.key for p in path)): leaf.shape
        for collection in ("params", "batch_stats")
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables.get(collection, {}))
    }


def _names(path: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if isinstance(part, str))


def _insert(tree: dict, path: tuple[str | int, ...], value) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _stacked(tree: Any) -> Any:
    """Turns {0: array, 1: array, ...} into one array, everywhere in the tree."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(isinstance(place, int) for place in tree):
        return np.stack([tree[place] for place in sorted(tree)])
    return {name: _stacked(child) for name, child in tree.items()}


def read_checkpoint(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads a reference `checkpoint.pt` into (arrays, flags); needs torch.

    Raises:
      ImportError: without torch.
      ValueError: the file cannot be read, or has no "state_dict" or no "args".
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing("torch", "parity", whose=f"reading {path}") from error
    # The reference stores its argparse namespace with the weights; nothing else is unpickled.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch passes on what its unpickler meets, with advice in pages
        raise InputError(
            f"{path} is not a readable checkpoint of the reference: torch.save's file of tensors "
            f"and an argparse.Namespace is needed ({type(error).__name__})"
        ) from error
    for key in ("state_dict", "args"):
        if not isinstance(content, dict) or key not in content:
            raise InputError(f"{path} has no {key!r}; a checkpoint of the reference has one")
    try:
        tensors = content["state_dict"].items()  # complex ones, or flags, are for load_reference
        arrays = {n: (x.float() if x.is_floating_point() else x).numpy() for n, x in tensors}
        return arrays, vars(content["args"])
    except (AttributeError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path} has another 'state_dict' or 'args' than the reference's, which are dense "
            "tensors by name and an argparse.Namespace"
        ) from error
