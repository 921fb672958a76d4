"""What a trained classifier does on examples it has not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxlab import losses, regularizers, train
from jaxlab.checks import check_count, check_scalars
from jaxlab.errors import InputError
from jaxlab.losses.reports import mean_of_classes
from jaxlab.tasks.classification.objectives import prepare


def predict(
    model: Any, params: Any, model_state: Any, x: jax.Array, *, batch_size: int = 500
) -> jax.Array:
    """Returns the logits [N, K] of inputs [N, ...] in evaluation mode, a batch at a time.

    Example:
      >>> from jaxlab.models import classifiers
      >>> model = classifiers.MLP(3, (4,))
      >>> params, state = classifiers.init_variables(model, jax.random.key(0), jnp.zeros((1, 2)))
      >>> predict(model, params, state, jnp.zeros((7, 2)), batch_size=2).shape
      (7, 3)
    """
    apply = lambda x: model.apply({"params": params, **model_state}, prepare(x))
    check_count("batch_size", batch_size)
    size = max(1, min(batch_size, len(x)))
    return jax.lax.map(lambda x: apply(x[None])[0], x, batch_size=size)


def features(
    run: train.LoadedRun, x: np.ndarray, *, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """What the head of a classifier sees, and the logits it makes of it, in evaluation mode.

    Args:
      run: from `train.load_run`.
      x: [N, ...], as in training: uint8 pictures, or vectors.
      batch_size: examples at a time.

    Returns:
      float32 [N, D] and [N, K].

    Raises:
      ValueError: there are no examples, or they have another shape than the run's.
    """
    check_count("batch_size", batch_size)
    if not len(x):
        raise InputError(f"x has shape {x.shape}, at least one example is needed")
    # A convolutional model would take pictures of any size, and see nothing that it knows.
    known = run.load_data("test", limit=1)["x"].shape[1:]
    if x.shape[1:] != known:
        wanted = ", ".join(map(str, known))
        raise InputError(f"x has shape {x.shape}, the classifier was trained on [N, {wanted}]")

    @jax.jit
    def apply(variables, x):
        logits, updated = run.model.apply(variables, prepare(x), mutable=["features"])
        return updated["features"]["last"][0], logits

    found = []
    for start in range(0, len(x), batch_size):
        rows = x[start : start + batch_size]
        full = np.concatenate([rows, np.zeros((batch_size - len(rows), *x.shape[1:]), x.dtype)])
        found.append([np.asarray(y)[: len(rows)] for y in apply(run.variables, full)])
    last, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return last, logits


def report(
    logits: jax.Array,
    labels: jax.Array,
    *,
    class_counts: jax.Array,
    taus: Sequence[float] = (),
) -> dict[str, jax.Array]:
    """Returns error, balanced error and cross-entropy of raw logits, and errors after adjustment.

    Args:
      logits: [N, K].
      labels: int [N].
      class_counts: [K], training examples of each class.
      taus: strengths of post-hoc adjustment to report `posthoc_TAU` for.

    Returns:
      Scalars: `error`, `balanced_error`, `cross_entropy`, `tail_error` (mean over the rarest third
      of the classes), `head_error` (over the most frequent third), `posthoc_TAU`. All are NaN
      where there are no examples, or a logit is NaN: a network that diverged predicts some class,
      and would not be seen to be broken.

    Example:
      >>> r = report(jnp.eye(2), jnp.array([0, 0]), class_counts=jnp.array([9.0, 1.0]))
      >>> float(r["error"]), float(r["balanced_error"])
      (0.5, 0.5)
    """
    num_classes = logits.shape[-1]
    balanced = losses.balanced_error(logits.argmax(-1), labels, num_classes)
    third = max(1, num_classes // 3)
    order = jnp.argsort(class_counts)
    group = lambda which: mean_of_classes(balanced.per_class[which], balanced.present[which])
    figures = {
        "error": (logits.argmax(-1) != labels).mean(),
        "balanced_error": balanced.error,
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(),
        "tail_error": group(order[:third]),
        "head_error": group(order[-third:]),
    }
    if taus:
        prior = losses.class_prior_from_counts(class_counts)

        def adjusted_error(tau):
            adjusted = losses.adjust_logits(logits, class_prior=prior, tau=tau)
            return losses.balanced_error(adjusted.argmax(-1), labels, num_classes).error

        errors = jax.lax.map(adjusted_error, jnp.asarray(taus, jnp.float32))
        figures |= {f"posthoc_{tau:g}": errors[i] for i, tau in enumerate(taus)}
    return {name: nan_unless_sound(logits, value) for name, value in figures.items()}


def figure_names(taus: Sequence[float] = ()) -> tuple[str, ...]:
    """Names of the figures of `report`.

    Raises:
      ValueError: taus are no tuple of different numbers of at least 0.

    Example:
      >>> figure_names(taus=(0.5,))[-1]
      'posthoc_0.5'
    """
    check_scalars("taus", taus, at_least=0.0)
    shape = jax.ShapeDtypeStruct
    shown = jax.eval_shape(
        lambda logits, labels, counts: report(logits, labels, class_counts=counts, taus=taus),
        *(shape((1, 2), jnp.float32), shape((1,), jnp.int32), shape((2,), jnp.float32)),
    )
    plain = [name for name in shown if not name.startswith("posthoc_")]
    return (*plain, *(name for name in shown if name not in plain))


def nan_unless_sound(logits: jax.Array, value: jax.Array) -> jax.Array:
    """Returns `value`, or NaN where a logit is NaN.

    Example:
      >>> print(nan_unless_sound(jnp.array([1.0, jnp.nan]), jnp.float32(0.25)))
      nan
    """
    return jnp.where(jnp.isnan(logits).any(), jnp.nan, value)


def tau_normalized_logits(logits: jax.Array, head: Any, tau: ArrayLike) -> jax.Array:
    """Returns the logits [N, K] that tau-normalised class vectors without bias would give.

    A column of `losses.tau_normalized_kernel` is w_y over a power of its norm, so the logits of the
    network as it is say it all.

    Example:
      >>> head = {"kernel": jnp.array([[3.0], [4.0]]), "bias": jnp.ones(1)}
      >>> print(tau_normalized_logits(jnp.array([[11.0]]), head, 1.0))
      [[2.]]
    """
    logits = logits - head["bias"] if "bias" in head else logits
    return logits * jnp.linalg.norm(head["kernel"], axis=0) ** -jnp.asarray(tau)


def layer_log_norms(params: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Returns the log Frobenius norm of every leaf with two or more axes, by its path.

    Example:
      >>> {k: float(v) for k, v in layer_log_norms({"head": {"kernel": jnp.ones((1, 1))}}).items()}
      {'head/kernel': 0.0}
    """
    flat = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): 0.5
        * jnp.log(regularizers.squared_norm(leaf).sum())
        for path, leaf in flat
        if jnp.ndim(leaf) >= 2
    }
