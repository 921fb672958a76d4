"""What a script trains, described before anything is allocated."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A training run as it is about to start: what `fit` runs, and what planners look at.

    Attributes:
      create_state: makes the state at step 0; called without arguments where nothing else is known.
      step: jitted `(state, batch) -> (state, metrics)`, the very one that training runs.
      batch: tree of `jax.ShapeDtypeStruct`, the global batch that `step` takes.
      num_steps: steps in all.
      batch_size: examples of the global batch.
      mesh: the devices; None for the default device.

    Raises:
      ValueError: num_steps or batch_size is not a whole number of at least 1.

    A step lowered without one parameter in memory:

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxlab import train
      >>> loss = lambda params, model_state, batch, *, key, step: (
      ...     jnp.mean((batch["x"] @ params) ** 2), (model_state, {}))
      >>> tx = optax.sgd(0.1)
      >>> run = train.Blueprint(
      ...     lambda: train.create_state(lambda key: (jnp.ones(3), {}), tx, key=jax.random.key(0)),
      ...     train.make_train_step(loss, tx), {"x": jax.ShapeDtypeStruct((8, 3), "float32")},
      ...     num_steps=100, batch_size=8)
      >>> state, batch = run.arguments()
      >>> state.params
      ShapeDtypeStruct(shape=(3,), dtype=float32)
      >>> run.step.lower(state, batch).cost_analysis()["flops"] > 2 * 8 * 3
      True
    """

    create_state: Callable[..., Any]
    step: Any
    batch: Any
    num_steps: int
    batch_size: int
    mesh: jax.sharding.Mesh | None = None

    def __post_init__(self):
        check_count("num_steps", self.num_steps)
        check_count("batch_size", self.batch_size)

    def arguments(self) -> tuple[Any, Any]:
        """State and batch as `jax.ShapeDtypeStruct`, with their shardings where there is a mesh."""
        state = jax.eval_shape(self.create_state)
        if self.mesh is None:
            return state, self.batch
        rows = mesh_lib.split(self.mesh)
        shardings = mesh_lib.state_sharding(self.mesh, state)
        return _placed(state, shardings), _placed(
            self.batch, jax.tree.map(lambda _: rows, self.batch)
        )


def _placed(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        shardings,
    )
