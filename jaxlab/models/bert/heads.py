"""Heads over the encoder's output: token prediction, sequence classification and regression."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import check_count, check_scalar
from jaxlab.errors import InputError
from jaxlab.models.bert.model import ACTIVATIONS, BertOutput
from jaxlab.models.dense import Dense, row_product

POOLINGS = ("pooler", "cls", "mean")
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def pool(output: BertOutput, attention_mask: ArrayLike | None, pooling: str) -> jax.Array:
    """One vector a sequence.

    Args:
      output: of `Bert`.
      attention_mask: [batch, length], 0 for padding; only "mean" looks at it, None counts all.
      pooling: "pooler" (BERT's own), "cls" (the first token's state) or "mean" (of all tokens that
        are not padding).

    Returns:
      [batch, hidden].

    Raises:
      ValueError: the pooling is unknown, the model has no pooler, or the mask's shape is wrong.

    Example:
      >>> states = jnp.array([[[1.0], [3.0], [8.0]]])
      >>> print(pool(BertOutput(states, None), jnp.array([[1, 1, 0]]), "mean"))
      [[2.]]
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling is {pooling!r}, known are {POOLINGS}")
    if pooling == "pooler":
        if output.pooled is None:
            raise InputError("pooling is 'pooler', the model has none: use 'cls' or 'mean'")
        return output.pooled
    states = output.last_hidden_state
    if pooling == "cls":
        return states[:, 0]
    if attention_mask is None:
        return states.mean(axis=1)
    if np.shape(attention_mask) != states.shape[:2]:
        raise InputError(
            f"attention_mask has shape {np.shape(attention_mask)}, mean pooling needs "
            f"{states.shape[:2]}"
        )
    weights = (jnp.asarray(attention_mask) != 0).astype(states.dtype)
    # No more than a guard: a row of padding alone has mean 0, not NaN.
    count = jnp.maximum(weights.sum(axis=1, keepdims=True), 1)
    return jnp.einsum("blh,bl->bh", states, weights / count)


class SequenceClassifier(nn.Module):
    """Dropout and a dense layer over the pooled sequence: classes, or one number for regression.

    Attributes:
      num_labels: classes; 1 for regression.
      pooling: see `pool`. "pooler" is BERT's and Hugging Face's; "mean" suits encoders trained for
        sentence similarity.
      dropout: rate before the dense layer, in training only.
      init_scale: standard deviation of the new kernel.
      label_names: a name for each class, for Hugging Face folders; empty for LABEL_0, LABEL_1, ...
      problem_type: one of `PROBLEM_TYPES`, for Hugging Face folders: what their users make of the
        logits; None for regression with one label and one class of several otherwise.

    Example:
      >>> head = SequenceClassifier(num_labels=3, pooling="cls")
      >>> output = BertOutput(jnp.ones((2, 4, 8)), None)
      >>> params = head.init(jax.random.key(0), output)["params"]
      >>> head.apply({"params": params}, output).shape
      (2, 3)
    """

    num_labels: int
    pooling: str = "pooler"
    dropout: float = 0.1
    init_scale: float = 0.02
    label_names: tuple[str, ...] = ()
    problem_type: str | None = None

    @nn.compact
    def __call__(
        self,
        output: BertOutput,
        attention_mask: ArrayLike | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Returns float32 logits [batch, num_labels]; [batch] when num_labels is 1."""
        x = pool(output, attention_mask, self.pooling).astype(jnp.float32)
        check_count("num_labels", self.num_labels)
        check_scalar("dropout", self.dropout, at_least=0.0, below=1.0)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        init = nn.initializers.normal(self.init_scale)
        logits = nn.Dense(self.num_labels, kernel_init=init, name="dense")(x)
        return logits[..., 0] if self.num_labels == 1 else logits


class MaskedLMHead(nn.Module):
    """Predicts tokens: dense, activation, norm, then the transposed word embedding and a bias.

    Attributes:
      activation: as of `Bert`.
      norm_eps: as of `Bert`.
      init_scale: as of `Bert`.
      dtype: as of `Bert`.
      tied: whether the output matrix is the word embedding; False for one of the head's own.

    Example:
      >>> head, table = MaskedLMHead(), jnp.ones((50, 8))
      >>> params = head.init(jax.random.key(0), jnp.ones((2, 4, 8)), table)["params"]
      >>> head.apply({"params": params}, jnp.ones((2, 4, 8)), table).shape
      (2, 4, 50)
    """

    activation: str = "gelu"
    norm_eps: float = 1e-12
    init_scale: float = 0.02
    dtype: jnp.dtype | None = None
    tied: bool = True

    @nn.compact
    def __call__(self, states: jax.Array, word_embedding: jax.Array) -> jax.Array:
        """Float32 logits [..., vocab] of states [..., hidden].

        Args:
          states: hidden states, of as many positions as shall be predicted.
          word_embedding: [vocab, hidden], `params["embeddings"]["word"]["embedding"]`: the tie; a
            head that is not tied takes its shape alone.
        """
        init = nn.initializers.normal(self.init_scale)
        x = Dense(states.shape[-1], dtype=self.dtype, kernel_init=init, name="dense")(states)
        x = nn.LayerNorm(
            epsilon=self.norm_eps, dtype=self.dtype, use_fast_variance=False, name="norm"
        )(ACTIVATIONS[self.activation](x))
        bias = self.param("bias", nn.initializers.zeros, (word_embedding.shape[0],))
        table = word_embedding if self.tied else self.param("decoder", init, word_embedding.shape)
        logits = row_product(x, table.astype(x.dtype).T)
        return logits.astype(jnp.float32) + bias
