"""Many training runs in one compiled program: seeds side by side, numbers of a grid as arguments.

A run is described by pure functions of (hyper, context): `hyper` a flat dict of scalars that a
grid varies, `context` a tree of arrays that differ from seed to seed (data, counts). Both are
traced, so the program is compiled once for all of a grid's numbers.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlab import data
from jaxlab.checks import check_count, check_seeds
from jaxlab.errors import InputError

SEEDS = ("vmap", "map")

Figures = dict[str, np.ndarray]


class Run(NamedTuple):
    """What one run does.

    Attributes:
      init: key -> state.
      step: (state, batch) -> (state, metrics), as `make_train_step` returns.
      evaluate: state -> scalars, at the start and every `eval_every` steps.
      finish: state -> scalars or small arrays, after the last step.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]
    evaluate: Callable[[Any], dict[str, jax.Array]]
    finish: Callable[[Any], dict[str, jax.Array]]


class Progress(NamedTuple):
    """One evaluation of all seeds.

    Attributes:
      step: steps done.
      figures: name -> [seeds, ...], of `evaluate`, and of `finish` with the last one.
      metrics: name -> [seeds], means of the step's metrics since the last evaluation.
      states: the seeds' states, stacked.
    """

    step: int
    figures: Figures
    metrics: Figures
    states: Any


class Program:
    """Compiled functions for runs of one shape; call `train` for as many hypers as you like.

    Args:
      make_run: (hyper, context) -> Run; traced, once per function below.
      seeds: "vmap" runs the seeds as one batch, which pays where the work of a step is small;
        "map" runs them one after the other inside the program, which pays where one seed already
        fills the machine (convolutions on CPU).

    Example:
      >>> import jax.numpy as jnp
      >>> run = lambda hyper, context: Run(
      ...     init=lambda key: jnp.float32(0.0),
      ...     step=lambda w, batch: (w + hyper["rate"] * batch["x"].mean(), {}),
      ...     evaluate=lambda w: {"w": w}, finish=lambda w: {})
      >>> data = {"x": jnp.ones((2, 4))}  # two seeds, four examples each
      >>> for p in Program(run).train({"rate": 0.5}, {"train": data}, seeds=[0, 1], num_steps=4,
      ...                             batch_size=2, eval_every=2):
      ...     print(p.step, p.figures["w"])
      0 [0. 0.]
      2 [1. 1.]
      4 [2. 2.]
    """

    def __init__(self, make_run: Callable[[Any, Any], Run], *, seeds: str = "vmap"):
        if seeds not in SEEDS:
            raise InputError(f"seeds is {seeds!r}, must be one of {SEEDS}")

        def chunk(hyper, context, state, order):
            run = make_run(hyper, context)

            def body(state, rows):
                batch = jax.tree.map(lambda values: values[rows], context["train"])
                return run.step(state, batch)

            state, metrics = jax.lax.scan(body, state, order)
            return state, jax.tree.map(lambda m: m.mean(0), metrics)

        over = functools.partial(_over, seeds)
        self._init = over(lambda hyper, context, key: make_run(hyper, context).init(key))
        self._chunk = over(chunk)
        self._evaluate = over(lambda hyper, context, s: make_run(hyper, context).evaluate(s))
        self._finish = over(lambda hyper, context, s: make_run(hyper, context).finish(s))

    def train(
        self,
        hyper: Mapping[str, float],
        contexts: Any,
        *,
        seeds: Sequence[int],
        num_steps: int,
        batch_size: int,
        eval_every: int,
        orders: np.ndarray | None = None,
    ) -> Iterator[Progress]:
        """Trains all seeds, and yields an evaluation at step 0 and every `eval_every` steps.

        Args:
          hyper: name -> number.
          contexts: tree of arrays [seeds, ...]; its entry "train" is a dict of [seeds, N, ...].
          seeds: one per run; they give the keys and, without `orders`, the order of the examples.
          num_steps: steps of each run, a multiple of `eval_every`.
          batch_size: examples of a step.
          eval_every: steps between evaluations.
          orders: int [seeds, num_steps, batch_size], rows of the examples; by default those of
            `data.epoch_order`.

        Raises:
          ValueError: a number is not a whole one of at least 1, steps do not divide, a batch is
            larger than the data, seeds are not distinct, or the contexts do not fit them.
        """
        check_seeds("seeds", seeds)
        for name, value in (("num_steps", num_steps), ("eval_every", eval_every)):
            check_count(name, value)
        check_count("batch_size", batch_size)
        if num_steps % eval_every:
            raise InputError(f"num_steps {num_steps} must be a multiple of eval_every {eval_every}")
        sizes = {len(leaf) for leaf in jax.tree.leaves(contexts)}
        if sizes != {len(seeds)}:
            raise InputError(f"contexts have leading axes {sizes}, there are {len(seeds)} seeds")
        if orders is None:
            size = jax.tree.leaves(contexts["train"])[0].shape[1]
            if batch_size > size:
                raise InputError(f"batch_size is {batch_size}, there are {size} training examples")
            orders = np.stack([_epochs(size, num_steps, batch_size, seed) for seed in seeds])
        numbers = {name: np.float32(value) for name, value in hyper.items()}
        keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
        states = self._init(numbers, contexts, keys)
        yield Progress(0, jax.device_get(self._evaluate(numbers, contexts, states)), {}, states)
        for step in range(eval_every, num_steps + 1, eval_every):
            rows = orders[:, step - eval_every : step]
            states, metrics = self._chunk(numbers, contexts, states, rows)
            figures = self._evaluate(numbers, contexts, states)
            if step == num_steps:
                figures = {**figures, **self._finish(numbers, contexts, states)}
            figures, metrics = jax.device_get((figures, metrics))
            yield Progress(step, figures, metrics, states)


def _epochs(size: int, num_steps: int, batch_size: int, seed: int) -> np.ndarray:
    order = data.epoch_order(size, 0, num_steps * batch_size, seed=seed)
    return order.reshape(num_steps, batch_size).astype(np.int32)


def _over(seeds: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Jits `function(hyper, *args)` over the leading axis of args."""
    if seeds == "vmap":
        return jax.jit(lambda hyper, *args: jax.vmap(functools.partial(function, hyper))(*args))
    return jax.jit(lambda hyper, *args: jax.lax.map(lambda one: function(hyper, *one), args))
