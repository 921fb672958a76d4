"""The optimizer that BERT is trained with."""

from typing import Any

import optax

from jaxlab import optim
from jaxlab.checks import check_scalar


def make_optimizer(
    learning_rate: float,
    num_steps: int,
    *,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    mask: Any = None,
) -> optax.GradientTransformation:
    """BERT's own: AdamW, the rate up and down, without decay of biases and of layer norms' scales.

    Args:
      learning_rate: the highest rate.
      num_steps: of the stage.
      warmup: see `optim.warmup_linear_decay`.
      weight_decay: per step and unit of the rate, at least 0; of kernels and embeddings alone.
      mask: from `optim.trainable_mask`, what is trained; None for everything.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> params = {"dense": {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}}
      >>> tx = make_optimizer(1.0, 1, warmup=0.0, weight_decay=0.5)
      >>> none = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = tx.update(none, tx.init(params), params)
      >>> print(updates["dense"]["kernel"], updates["dense"]["bias"])
      [[-0.5]] [-0.]

    Source: Devlin et al., 2018, arXiv:1810.04805, and its published code.
    """
    check_scalar("weight_decay", weight_decay, at_least=0.0)
    rate = optim.warmup_linear_decay(learning_rate, num_steps, warmup=warmup)
    tx = optax.adamw(rate, weight_decay=weight_decay, mask=optim.matrices_only)
    return tx if mask is None else optim.train_only(tx, mask)
