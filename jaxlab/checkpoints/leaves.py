"""Leaves of a state by name: as a checkpoint stores them, and how two lists of them differ."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import mesh as mesh_lib

_MOST_LISTED = 12  # leaves named in a message


def flatten(tree: Any) -> dict[str, Any]:
    """Names every leaf by its path: `params/Dense_0/kernel`; None and empty nodes have no name."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and place of an array, to restore another into."""
    sharding = getattr(leaf, "sharding", None) or mesh_lib.local_device()
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _as_stored(leaf: Any) -> jax.ShapeDtypeStruct:
    """A typed key is stored as its key data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Lists leaves whose presence, shape or dtype differ."""
    wanted = {name: _as_stored(leaf) for name, leaf in wanted.items()}
    found = []
    for name in sorted({*stored, *wanted}):
        seen, want = (
            f"{x.dtype}{list(x.shape)}" if (x := leaves.get(name)) is not None else "absent"
            for leaves in (stored, wanted)
        )
        if seen != want:
            found.append(f"{name} seen {seen}, wanted {want}")
    if len(found) > _MOST_LISTED:
        found[_MOST_LISTED:] = [f"and {len(found) - _MOST_LISTED} more"]
    return found
