"""The training state: arrays only, so that it can be donated, sharded and saved as one tree."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints.leaves import differences, flatten
from jaxlab.checks import at_least_float32
from jaxlab.errors import InputError


@flax.struct.dataclass
class TrainState:
    """Everything that changes during training, and nothing else.

    Attributes:
      step: int32 [], steps done.
      params: tree of arrays.
      model_state: tree of arrays that the loss returns anew: batch statistics, power iterations.
      opt_state: state of the optax transformation.
      ema_params: running mean of `params`, the same tree, in float32 or better: a mean of bfloat16
        would stand still at usual decays. None when not kept.
      key: typed PRNG key []; the key of a step is `fold_in(key, step)`, so there is none to save.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    ema_params: Any
    key: jax.Array


def create_state(
    init_fn: Callable[[jax.Array], tuple[Any, Any]],
    tx: optax.GradientTransformation,
    *,
    key: jax.Array,
    mesh: jax.sharding.Mesh | None = None,
    ema: bool = True,
) -> TrainState:
    """Initialises a training state in one jitted call, spread over the mesh.

    Args:
      init_fn: key -> (params, model_state); model_state may be `{}`.
      tx: the optax transformation that `make_train_step` will be given.
      key: typed key (`jax.random.key(seed)`).
      mesh: devices to put the state on, see `mesh.state_sharding`; the default device when None.
      ema: whether to keep a running mean of the parameters.

    Returns:
      The state at step 0, `ema_params` a copy of `params` in float32 or better.

    Raises:
      ValueError: `key` is a legacy uint32 key.

    Example:
      >>> state = create_state(lambda key: ({"w": jnp.ones(2)}, {}), optax.sgd(0.1),
      ...                      key=jax.random.key(0))
      >>> int(state.step), state.ema_params["w"]
      (0, Array([1., 1.], dtype=float32))
    """
    _check_key(key)

    def init(key):
        init_key, train_key = jax.random.split(key)
        params, model_state = init_fn(init_key)
        ema_params = jax.tree.map(lambda p: jnp.copy(at_least_float32(p)), params) if ema else None
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=tx.init(params),
            ema_params=ema_params,
            key=train_key,
        )
        return _strong(state)

    sharding = None
    if mesh is not None:
        sharding = mesh_lib.state_sharding(mesh, jax.eval_shape(init, key))
    return jax.jit(init, out_shardings=sharding)(key)


def state_from_params(
    params: Any,
    tx: optax.GradientTransformation,
    *,
    key: jax.Array,
    model_state: Any = None,
    mesh: jax.sharding.Mesh | None = None,
) -> TrainState:
    """A state at step 0 that starts from parameters at hand, as fine-tuning does; without EMA.

    Args:
      params: tree of arrays, which are copied: a training step may donate the state's.
      tx: the optax transformation that `make_train_step` will be given.
      key: typed key that training draws from.
      model_state: what the loss carries along with the parameters, `{}` by default.
      mesh: devices to put the state on; where the parameters are when None.

    Raises:
      ValueError: `key` is a legacy uint32 key.

    Example:
      >>> state = state_from_params({"w": jnp.ones(2)}, optax.sgd(0.1), key=jax.random.key(0))
      >>> int(state.step), state.params["w"], state.ema_params
      (0, Array([1., 1.], dtype=float32), None)
    """
    _check_key(key)
    params = jax.tree.map(jnp.copy, params)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state={} if model_state is None else model_state,
        opt_state=jax.jit(tx.init)(params),
        ema_params=None,
        key=key,
    )
    state = jax.jit(_strong)(state)
    return state if mesh is None else mesh_lib.place(state, mesh_lib.state_sharding(mesh, state))


def start_from(
    state: TrainState, params: Any, model_state: Any = None, *, skip: str | None = None
) -> TrainState:
    """A fresh state with parameters and model state of another run; all else stays fresh.

    A collection of the model state that only one of the two has, such as vectors of a penalty that
    only one pays, stays as it is too.

    Args:
      state: from `create_state`; not to be used afterwards.
      params: tree of arrays, as `checkpoints.load_params` gives it.
      model_state: likewise; None for none.
      skip: regular expression; leaves stay fresh in whose name (`params/Dense_0/kernel`) it is
        found.

    Returns:
      The state, its `ema_params`, where there are any, a copy of its `params`.

    Raises:
      ValueError: leaves do not fit, which are listed; `skip` is no regular expression or is found
        in no name.

    Example:
      >>> fresh = lambda key: ({"body": jnp.zeros(2), "head": jnp.zeros(3)}, {})
      >>> state = create_state(fresh, optax.sgd(0.1), key=jax.random.key(0))
      >>> other = {"body": jnp.ones(2), "head": jnp.ones(5)}
      >>> start_from(state, other, skip="head").params
      {'body': Array([1., 1.], dtype=float32), 'head': Array([0., 0., 0.], dtype=float32)}
      >>> start_from(state, other)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: weights do not fit (params/head seen float32[5], wanted \
float32[3]): take the same model, or leave them out by a pattern
    """
    ours, theirs = state.model_state, model_state or {}
    shared = [k for k in ours if k in theirs] if isinstance(ours, Mapping) else []
    seen = flatten({"params": params, "model_state": {k: theirs[k] for k in shared}})
    fresh = flatten({"params": state.params, "model_state": {k: ours[k] for k in shared}})
    try:
        left = {n for n in {*seen, *fresh} if re.search(skip, n)} if skip is not None else set()
    except re.error as error:
        raise InputError(f"skip is {skip!r}, must be a regular expression: {error}") from error
    if skip is not None and not left:
        raise InputError(
            f"skip is {skip!r}, which is in no name, such as {', '.join([*fresh][:3])}"
        )
    seen = {n: x for n, x in seen.items() if n not in left}
    # A mean is kept in float32, whatever the parameters are in.
    wanted = {
        n: jax.ShapeDtypeStruct(x.shape, seen[n].dtype if n in seen else x.dtype)
        for n, x in fresh.items()
        if n not in left
    }
    if unlike := differences(seen, wanted):
        raise InputError(
            f"weights do not fit ({'; '.join(unlike)}): take the same model, or leave them out by "
            "a pattern"
        )

    def filled(tree: Any, field: str) -> Any:
        leaves = flatten({field: tree})
        found = {n: np.asarray(seen[n]).astype(x.dtype) for n, x in leaves.items() if n in seen}
        placed = mesh_lib.place(found, {n: leaves[n].sharding for n in found})
        placed = jax.tree.map(jnp.copy, placed)  # a step donates them, and may not the host's
        leaves |= placed
        return jax.tree.unflatten(jax.tree.structure(tree), list(leaves.values()))

    return dataclasses.replace(
        state,
        params=filled(state.params, "params"),
        model_state=filled(ours, "model_state"),
        ema_params=None if state.ema_params is None else filled(state.ema_params, "params"),
    )


def _strong(state: TrainState) -> TrainState:
    """Without weak types (of Python numbers), which the first step would drop and trace again."""
    key = lambda x: jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended)
    plain = lambda x: x if key(x) else jnp.asarray(x, jnp.result_type(x))
    return jax.tree.map(plain, state)


def _check_key(key: jax.Array) -> None:
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise InputError(f"key has dtype {key.dtype}, must be a typed key: jax.random.key(seed)")
