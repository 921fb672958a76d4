"""The loss function and the optimizer of a classifier, with the path norm as one more penalty."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from jaxlab import optim, regularizers
from jaxlab.models import classifiers
from jaxlab.tasks.classification.objectives import make_loss


def path(given: optim.Given, /, *, path: float = 0.0) -> optax.GradientTransformation:
    """Lambda of the path norm; of an MLP only."""
    del given
    return optim.add_penalty(lambda p: regularizers.path_norm(classifiers.kernels(p)), path)


PENALTIES = {**optim.PENALTIES, "path": ("coupled", path)}


def make_training(
    model: Any,
    *,
    class_counts: jax.Array,
    num_steps: int,
    objective: Mapping[str, Any],
    optimizer: Mapping[str, Any],
) -> tuple[Callable[..., Any], optax.GradientTransformation]:
    """Makes the loss function and the optimizer of a training step.

    Flooding of the batch's mean loss is left to the optimizer, see `optim.flooded_by_optimizer`.

    Args:
      model: of `models.classifiers`.
      class_counts: [K], training examples of each class.
      num_steps: length of the schedule.
      objective: arguments of `make_loss`.
      optimizer: arguments of `optim.make_optimizer`, with one more penalty: `path`.

    Returns:
      (loss_fn, tx) for `train.make_train_step`.

    Raises:
      ValueError: see `make_loss` and `optim.make_optimizer`, or both flood the batch's loss.
    """
    make_loss(model, class_counts=class_counts, **objective)  # as given: what it raises
    objective, optimizer = optim.flooded_by_optimizer(objective, optimizer)
    loss_fn = make_loss(model, class_counts=class_counts, **objective)
    return loss_fn, optim.make_optimizer(num_steps=num_steps, penalties=PENALTIES, **optimizer)
