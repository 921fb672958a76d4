"""BERT's encoder in Flax: embeddings, post-LN layers, pooler."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import check_count, check_scalar, concrete, dtype_by_name
from jaxlab.errors import InputError
from jaxlab.models.bert.attention import ATTENTIONS, SelfAttention, attention_mask
from jaxlab.models.dense import Dense

LAYER_PREFIX = "layers_"  # of the layers' names in a parameter tree: layers_0, layers_1, ...


def gelu(x: jax.Array) -> jax.Array:
    r"""The exact GELU, :math:`x \Phi(x)`, which BERT was trained with.

    Departs from `jax.nn.gelu(approximate=False)` in computing `erf`, not `erfc`: the same to
    rounding in float32, and a fraction of the time on CPU.

    Example:
      >>> [round(float(y), 3) for y in gelu(jnp.array([-1.0, 0.0, 1.0]))]
      [-0.159, 0.0, 0.841]
    """
    return 0.5 * x * (1 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


@flax.struct.dataclass
class BertOutput:
    """What `Bert` returns.

    Attributes:
      last_hidden_state: [batch, length, hidden].
      pooled: [batch, hidden]: tanh of a dense layer over the first token; None without pooler.
      hidden_states: embeddings and the output of every layer, each [batch, length, hidden]; empty
        unless asked for.
    """

    last_hidden_state: jax.Array
    pooled: jax.Array | None
    hidden_states: tuple[jax.Array, ...] = ()


class Embeddings(nn.Module):
    """Sum of token, position and token-type embeddings, normalised; see `Bert` for attributes."""

    vocab_size: int
    hidden_size: int
    max_positions: int
    type_vocab_size: int
    norm_eps: float
    dropout: float
    init_scale: float
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, input_ids, token_type_ids, *, train: bool, position_ids=None):
        init = nn.initializers.normal(self.init_scale)
        table = lambda name, size: nn.Embed(
            size, self.hidden_size, dtype=self.dtype, embedding_init=init, name=name
        )
        x = table("word", self.vocab_size)(input_ids)
        places = jnp.arange(input_ids.shape[1]) if position_ids is None else position_ids
        x += table("position", self.max_positions)(places)
        types = table("token_type", self.type_vocab_size)
        # Without types all are 0: one row, broadcast, costs no gather and no scatter.
        x += types(jnp.zeros((1, 1), jnp.int32) if token_type_ids is None else token_type_ids)
        return _finish(self, x, train)


class Layer(nn.Module):
    """One post-LN transformer layer; see `Bert` for attributes."""

    num_heads: int
    intermediate_size: int
    norm_eps: float
    dropout: float
    attention_dropout: float
    activation: str
    attention: str
    init_scale: float
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, train: bool, attend=None) -> Any:
        init = nn.initializers.normal(self.init_scale)
        dense = lambda size, name: Dense(size, dtype=self.dtype, kernel_init=init, name=name)
        hidden = x.shape[-1]
        attended = SelfAttention(
            self.num_heads,
            self.attention_dropout,
            self.attention,
            self.init_scale,
            self.dtype,
            name="attention",
        )(x, mask, train=train, attend=attend)
        memory = None
        if attend is not None:
            attended, memory = attended
        x = self._add(x, dense(hidden, "attention_output")(attended), "attention_norm", train)
        h = ACTIVATIONS[self.activation](dense(self.intermediate_size, "intermediate")(x))
        x = self._add(x, dense(hidden, "output")(h), "output_norm", train)
        return x if attend is None else (x, memory)

    def _add(self, x, branch, name, train):
        if self.dropout:
            branch = nn.Dropout(self.dropout, deterministic=not train)(branch)
        return _norm(self, name)(x + branch)


def _norm(module, name: str) -> nn.LayerNorm:
    # Flax's defaults differ: eps 1e-6, and a variance as a difference of large numbers.
    return nn.LayerNorm(
        epsilon=module.norm_eps, dtype=module.dtype, use_fast_variance=False, name=name
    )


def _finish(module, x, train):
    x = _norm(module, "norm")(x)
    return nn.Dropout(module.dropout, deterministic=not train)(x) if module.dropout else x


def attributes(section: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of `Bert` that a config section gives: those that are not None.

    Example:
      >>> attributes({"dtype": "bfloat16", "dropout": 0.0, "num_layers": None})
      {'dtype': dtype(bfloat16), 'dropout': 0.0}
    """
    given = {name: value for name, value in section.items() if value is not None}
    return given | ({"dtype": dtype_by_name(given["dtype"])} if "dtype" in given else {})


class Bert(nn.Module):
    r"""BERT's encoder.

    .. math:: x_0 = \text{LN}(\text{token} + \text{position} + \text{type}), \quad
              y_l = \text{LN}(x_{l-1} + \text{attention}(x_{l-1})), \quad
              x_l = \text{LN}(y_l + W_2\, \text{gelu}(W_1 y_l))

    Attributes:
      vocab_size: tokens of the vocabulary.
      hidden_size: width of the states.
      num_layers: layers.
      num_heads: attention heads; must divide hidden_size.
      intermediate_size: width inside a layer's feed-forward part.
      max_positions: longest input.
      type_vocab_size: kinds of segments (sentence A, sentence B).
      norm_eps: of all layer norms.
      dropout: rate after embeddings and before each residual addition, in training only, in [0, 1).
      attention_dropout: rate on attention weights, in training only, in [0, 1).
      activation: "gelu" (exact), "gelu_new" (tanh), "relu" or "silu".
      pooler: whether there is a pooler.
      attention: "auto", "einsum" or "fused"; see `attention.dot_attention`.
      remat: compute each layer anew in the backward pass: less memory, more time.
      init_scale: standard deviation of new kernels and embeddings.
      dtype: of the computation, such as bfloat16 (parameters, norms' statistics and softmax stay
        float32); None for that of the parameters.

    Raises:
      ValueError: on first use, for attributes or inputs that do not fit together.

    Example:
      >>> model = Bert(vocab_size=50, hidden_size=8, num_layers=1, num_heads=2,
      ...              intermediate_size=16, max_positions=12)
      >>> ids = jnp.array([[2, 7, 9, 3], [2, 5, 3, 0]])
      >>> params = model.init(jax.random.key(0), ids)["params"]
      >>> out = model.apply({"params": params}, ids, attention_mask=ids != 0)
      >>> out.last_hidden_state.shape, out.pooled.shape
      ((2, 4, 8), (2, 8))

    Devlin et al., `BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding
    <https://arxiv.org/abs/1810.04805>`_, 2018. Departure: kernels start as a normal distribution,
    not a truncated one, as Hugging Face's do.
    """

    vocab_size: int
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    max_positions: int = 512
    type_vocab_size: int = 2
    norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation: str = "gelu"
    pooler: bool = True
    attention: str = "auto"
    remat: bool = False
    init_scale: float = 0.02
    dtype: jnp.dtype | None = None

    def setup(self):
        for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size"):
            check_count(name, getattr(self, name))
        for name in ("max_positions", "type_vocab_size"):
            check_count(name, getattr(self, name))
        for name in ("dropout", "attention_dropout"):
            check_scalar(name, getattr(self, name), at_least=0.0, below=1.0)
        check_scalar("norm_eps", self.norm_eps, above=0.0)
        check_scalar("init_scale", self.init_scale, at_least=0.0)
        if self.hidden_size % self.num_heads:
            raise InputError(
                f"num_heads is {self.num_heads}, must divide hidden_size {self.hidden_size}"
            )
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation is {self.activation!r}, known are {tuple(ACTIVATIONS)}")
        if self.attention not in ATTENTIONS:
            raise InputError(f"attention is {self.attention!r}, known are {ATTENTIONS}")
        self.embeddings = Embeddings(
            self.vocab_size,
            self.hidden_size,
            self.max_positions,
            self.type_vocab_size,
            self.norm_eps,
            self.dropout,
            self.init_scale,
            self.dtype,
        )
        layer = nn.remat(Layer, static_argnums=(3,)) if self.remat else Layer
        self.layers = [
            layer(
                self.num_heads,
                self.intermediate_size,
                self.norm_eps,
                self.dropout,
                self.attention_dropout,
                self.activation,
                self.attention,
                self.init_scale,
                self.dtype,
            )
            for _ in range(self.num_layers)
        ]
        if self.pooler:
            init = nn.initializers.normal(self.init_scale)
            self.pooler_dense = nn.Dense(
                self.hidden_size, dtype=self.dtype, kernel_init=init, name="pooler"
            )

    def __call__(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        train: bool = False,
        all_layers: bool = False,
    ) -> BertOutput:
        """Encodes a batch.

        Args:
          input_ids: int [batch, length], length <= max_positions; ids in [0, vocab_size), checked
            when concrete.
          attention_mask: [batch, length], 0 for padding, or any [batch, query, key], 0 where a
            query must not look; None lets all see all.
          token_type_ids: int [batch, length] in [0, type_vocab_size); None for all 0.
          train: drop out, with `rngs={"dropout": key}`.
          all_layers: whether to return the hidden states of all layers too.

        Raises:
          ValueError: shapes do not fit, the input is too long, or an id is out of range.
        """
        x = self.embed(input_ids, token_type_ids, train=train)
        states = [x]
        for i in range(self.num_layers):
            x = self.run_layers(x, attention_mask, start=i, stop=i + 1, train=train)
            states.append(x)
        return BertOutput(x, self.pool(x), tuple(states) if all_layers else ())

    def embed(
        self,
        input_ids: ArrayLike,
        token_type_ids: ArrayLike | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """The input of the first layer, [batch, length, hidden]."""
        if np.ndim(input_ids) != 2 or not jnp.issubdtype(jnp.result_type(input_ids), jnp.integer):
            raise InputError(
                f"input_ids is {jnp.result_type(input_ids)} {np.shape(input_ids)}, must be "
                "integers [batch, length]"
            )
        if np.shape(input_ids)[1] > self.max_positions:
            raise InputError(
                f"input_ids has length {np.shape(input_ids)[1]}, the position table ends at "
                f"{self.max_positions}: truncate the text"
            )
        _check_ids("input_ids", input_ids, self.vocab_size)
        if token_type_ids is not None:
            if np.shape(token_type_ids) != np.shape(input_ids):
                raise InputError(
                    f"token_type_ids has shape {np.shape(token_type_ids)}, input_ids has "
                    f"{np.shape(input_ids)}"
                )
            _check_ids("token_type_ids", token_type_ids, self.type_vocab_size)
            token_type_ids = jnp.asarray(token_type_ids)
        return self.embeddings(jnp.asarray(input_ids), token_type_ids, train=train)

    def run_layers(
        self,
        x: jax.Array,
        mask: ArrayLike | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Layers start..stop-1 over hidden states [batch, length, hidden]; mask as in a call."""
        allowed = attention_mask(mask, *x.shape[:2])
        for layer in self.layers[start:stop]:
            x = layer(x, allowed, train)
        return x

    def run_attending(
        self,
        input_ids: jax.Array,
        token_type_ids: jax.Array | None,
        position_ids: jax.Array | None,
        attends: Sequence[Callable[..., tuple[jax.Array, Any]]],
    ) -> tuple[jax.Array, list[Any]]:
        """The layers with attention of another kind, such as over remembered keys and values.

        Args:
          input_ids: int [batch, length]; not checked, since decoding calls this for each token.
          token_type_ids: int [batch, length] or None.
          position_ids: int [batch, length], below max_positions; None for 0, 1, 2, ...
          attends: one per layer, (query, key, value), each [batch, length, heads, d], to (output of
            the same shape, anything).

        Returns:
          (last hidden state [batch, length, hidden], what the layers' attention gave in addition).
        """
        x = self.embeddings(input_ids, token_type_ids, train=False, position_ids=position_ids)
        memories = []
        for layer, attend in zip(self.layers, attends, strict=True):
            x, memory = layer(x, None, False, attend)
            memories.append(memory)
        return x, memories

    def pool(self, x: jax.Array) -> jax.Array | None:
        """The pooled first token [batch, hidden], or None without pooler."""
        return jnp.tanh(self.pooler_dense(x[:, 0])) if self.pooler else None


def _check_ids(name: str, ids: ArrayLike, size: int) -> None:
    values = concrete(ids)
    if values is not None and values.size and not (0 <= values.min() <= values.max() < size):
        raise InputError(f"{name} holds {values.min()} to {values.max()}, must be in [0, {size})")
