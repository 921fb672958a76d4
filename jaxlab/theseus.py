r"""Progressive module replacing: a shallow successor grows inside a trained predecessor.

A predecessor of modules :math:`P_1 \ldots P_n` and a successor of as many smaller ones
:math:`S_1 \ldots S_n` of equal input and output shapes are trained as one model

.. math:: x_i = r_i S_i(x_{i-1}) + (1 - r_i) P_i(x_{i-1}), \qquad r_i \sim \text{Bernoulli}(p)

with the task's own loss and nothing else; only the successor learns. Raising p to 1 leaves the
successor alone. Nothing here knows what a module is: modules are functions, and parameters are
plain trees whose top-level names, such as `layers_0`, distinguish them.

Parameters are kept as `{"predecessor": tree, "successor": tree, ...}`; the successor's tree holds
only what is its own (its layers, and the embeddings if those are replaced too), everything else is
shared. A stage of training is a `trainable_mask`.

>>> x = jnp.float32(1.0)
>>> old, new = [lambda x: x + 1, lambda x: x + 10], [lambda x: x * 2, lambda x: x * 3]
>>> [float(forward(old, new, gates, x)) for gates in ([0, 0], [1, 0], [1, 1])]
[12.0, 12.0, 6.0]

Xu et al., `BERT-of-Theseus: Compressing BERT by Progressive Module Replacing
<https://arxiv.org/abs/2002.02925>`_, 2020.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import check_scalar, concrete
from jaxlab.errors import InputError

Module = Callable[[Any], Any]
Schedule = Callable[[ArrayLike], ArrayLike]
PREFIX = "layers_"


def module_size(num_predecessor: int, num_successor: int) -> int:
    """Layers of the predecessor that one layer of the successor stands for.

    Args:
      num_predecessor: layers of the predecessor.
      num_successor: layers of the successor, which must divide them.

    Raises:
      ValueError: it does not.

    Example:
      >>> module_size(6, 2)
      3
    """
    if num_successor < 1 or num_predecessor % num_successor:
        raise InputError(
            f"the successor has {num_successor} layers, must divide the predecessor's "
            f"{num_predecessor}"
        )
    return num_predecessor // num_successor


def sample_gates(key: jax.Array, rate: ArrayLike, num_modules: int) -> jax.Array:
    """Draws which modules are replaced in one step: independently, each with probability `rate`.

    One draw serves the whole batch, as in the paper.

    Args:
      key: typed key; `fold_in(key, step)` in training.
      rate: in (0, 1], checked when concrete; may be traced, so a schedule compiles once.
      num_modules: n.

    Returns:
      bool [n], True where the successor's module is used.

    Raises:
      ValueError: the rate is out of range.

    Example:
      >>> print(sample_gates(jax.random.key(0), 1.0, 3))
      [ True  True  True]
    """
    check_rate(rate)
    # uniform is in [0, 1), so a rate of 1 always replaces.
    return jax.random.uniform(key, (num_modules,)) < rate


def check_rate(rate: ArrayLike) -> None:
    """Raises ValueError unless the rate is in (0, 1]; a traced one passes.

    Example:
      >>> check_rate(0.0)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: rate is 0.0, must be above 0
    """
    check_scalar("rate", rate, above=0)
    value = concrete(rate)
    if value is not None and value > 1:
        raise InputError(f"rate is {rate}, must be at most 1")


def replacement_schedule(
    base: float, slope: float = 0.0, *, full_from: int | None = None
) -> Schedule:
    r"""The replacement rate as a function of the step, a schedule like optax's.

    .. math:: p(t) = \min(1, b + k t), \qquad p(t) = 1 \text{ for } t \ge t_1

    Args:
      base: b, the rate at step 0, in (0, 1].
      slope: k >= 0; 0 is a constant rate. The curriculum that reaches 1 at step T has
        (1 - b) / T.
      full_from: t_1, the step from which the rate is 1: the end of a constant rate. None for never.

    Returns:
      step -> rate, for steps that may be traced. Any optax schedule with values in (0, 1] can take
      its place.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> rate = replacement_schedule(0.3, 0.1)
      >>> [round(float(rate(t)), 1) for t in (0, 3, 7, 100)]
      [0.3, 0.6, 1.0, 1.0]
    """
    check_rate(base)
    check_scalar("slope", slope, at_least=0)
    if full_from is not None and full_from < 0:
        raise InputError(f"full_from is {full_from}, must be at least 0")

    def rate(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        value = jnp.minimum(1.0, base + slope * step.astype(jnp.float32))
        return value if full_from is None else jnp.where(step >= full_from, 1.0, value)

    return rate


def forward(
    predecessor: Sequence[Module],
    successor: Sequence[Module],
    gates: ArrayLike,
    x: Any,
    *,
    frozen_below: bool = False,
) -> Any:
    """Runs x through the modules, each the predecessor's or the successor's.

    Only the chosen module of each pair is computed. Gates that are known when the function is
    called or traced (NumPy arrays, lists) choose then, and a compiled program holds that one path;
    gates that are traced choose on the device by `lax.switch`. Gradients pass through either.

    Args:
      predecessor: n functions of one argument, an array or a tree of arrays.
      successor: n functions whose results have the shapes and dtypes of the predecessor's.
      gates: [n], true for the successor.
      x: input of the first module.
      frozen_below: says that nothing is trained but the successor's modules: not the predecessor's,
        and nothing that x depends on. Kept modules below the lowest replaced one then have no
        backward pass (with traced gates too), and no gradient reaches x.

    Returns:
      The output of the last module.

    Raises:
      ValueError: the numbers differ, or the outputs of a pair do.
    """
    count = len(predecessor)
    if len(successor) != count or np.shape(gates) != (count,):
        raise InputError(
            f"gates has shape {np.shape(gates)}, {count} modules and {len(successor)} successors "
            "need as many each"
        )
    known = concrete(gates)
    trained: Any = not frozen_below  # whether x depends on something that is trained
    # What a branch keeps for its backward pass leaves the switch, as zeros from the others too:
    # matrix products alone, the rest is computed again.
    lean = functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable)
    for i, (old, new) in enumerate(zip(predecessor, successor, strict=True)):
        shapes = [jax.eval_shape(module, x) for module in (old, new)]
        if not _same(*shapes):
            raise InputError(
                f"module {i} gives {_brief(shapes[0])}, its successor {_brief(shapes[1])}; "
                "they must be equal"
            )
        if known is not None:
            x = (new if known[i] else old)(x if trained else jax.lax.stop_gradient(x))
            trained = trained or known[i]
            continue
        gate = jnp.asarray(gates)[i].astype(bool)
        old, new = lean(old), lean(new)
        if not frozen_below:
            x = jax.lax.cond(gate, new, old, x)
        elif i == 0:
            x = jax.lax.cond(gate, new, old, jax.lax.stop_gradient(x))
            trained = gate
        else:
            cut = lambda x, old=old: old(jax.lax.stop_gradient(x))
            x = jax.lax.switch(jnp.where(gate, 2, jnp.where(trained, 1, 0)), (cut, old, new), x)
            trained = trained | gate
    return x


def choose_layers(
    num_predecessor: int, num_successor: int, which: str | Sequence[int] = "first"
) -> tuple[int, ...]:
    """Which layers of the predecessor the successor's layers start from.

    Args:
      num_predecessor: layers of the predecessor.
      num_successor: layers of the successor, at most as many.
      which: "first" (the paper's, and the best there), "spread" (every other, third, ...: the last
        of each module), "last", or the indices themselves.

    Raises:
      ValueError: an index is out of range, or there are not as many as layers.

    Example:
      >>> [choose_layers(6, 3, which) for which in ("first", "spread", "last")]
      [(0, 1, 2), (1, 3, 5), (3, 4, 5)]
    """
    if not 1 <= num_successor <= num_predecessor:
        raise InputError(
            f"the successor has {num_successor} layers, must have 1 to {num_predecessor}"
        )
    if which == "first":
        return tuple(range(num_successor))
    if which == "last":
        return tuple(range(num_predecessor - num_successor, num_predecessor))
    if which == "spread":
        size = module_size(num_predecessor, num_successor)
        return tuple(range(size - 1, num_predecessor, size))
    if isinstance(which, str):
        raise InputError(f"layers are {which!r}, known are 'first', 'spread', 'last', or indices")
    layers = tuple(int(i) for i in which)
    if len(layers) != num_successor or not all(0 <= i < num_predecessor for i in layers):
        raise InputError(
            f"layers are {layers}, must be {num_successor} indices in [0, {num_predecessor})"
        )
    return layers


def init_successor(
    params: Mapping[str, Any],
    layers: Sequence[int],
    *,
    own: Sequence[str] = (),
    prefix: str = PREFIX,
) -> dict[str, Any]:
    """The successor's parameters as copies of the predecessor's.

    Args:
      params: the predecessor's tree, of the pretrained model (the paper) or the fine-tuned one (its
        code), with layers under f"{prefix}{i}" at the top.
      layers: which of them to copy, as `choose_layers` names them; they are numbered anew.
      own: further top-level names that the successor shall have for itself, such as "embeddings".
      prefix: of the layers' names.

    Returns:
      A tree with the copied layers and `own`, nothing else; the arrays are new.

    Raises:
      ValueError: a name is not in the tree.

    Example:
      >>> params = {"pooler": jnp.zeros(2), "layers_0": jnp.ones(1), "layers_1": jnp.ones(1) * 5}
      >>> init_successor(params, (1,))
      {'layers_0': Array([5.], dtype=float32)}
    """
    names = {f"{prefix}{i}": f"{prefix}{layer}" for i, layer in enumerate(layers)}
    names |= {name: name for name in own}
    missing = [name for name in names.values() if name not in params]
    if missing:
        raise InputError(f"{missing[0]!r} is not in params, which hold {', '.join(params)}")
    return {new: jax.tree.map(jnp.copy, params[old]) for new, old in names.items()}


def extract_successor(params: Mapping[str, Any], *, prefix: str = PREFIX) -> dict[str, Any]:
    """The parameters of the shallow model: the successor's own, and what it shares.

    Args:
      params: `{"predecessor": tree, "successor": tree, ...}`, the successor's as `init_successor`
        made it and training left it.
      prefix: of the layers' names.

    Returns:
      A tree for a model of the successor's depth.

    Example:
      >>> deep = {"embeddings": 1, "layers_0": 2, "layers_1": 3, "pooler": 4}
      >>> extract_successor({"predecessor": deep, "successor": {"layers_0": 20}})
      {'embeddings': 1, 'pooler': 4, 'layers_0': 20}
    """
    old, new = params["predecessor"], params["successor"]
    shared = {name: tree for name, tree in old.items() if not name.startswith(prefix)}
    return {**shared, **new}


def _same(a: Any, b: Any) -> bool:
    key = lambda tree: (
        jax.tree.structure(tree),
        [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)],
    )
    return key(a) == key(b)


def _brief(tree: Any) -> str:
    leaves = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]
    return leaves[0] if len(leaves) == 1 else str(leaves)
