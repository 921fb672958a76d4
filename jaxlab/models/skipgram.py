r"""Skip-gram: two tables of vectors, u for words and v for contexts, with logits <u_i, v_j>.

Full softmaxes run on the whole matrix of co-occurrence counts and serve the study of dimensions;
negative sampling runs on blocks of text at the speed of a corpus.

Params are `{"words": [N, n], "contexts": [N, n]}`; all functions are pure.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlab.checks import at_least_float32, check_count, check_scalar
from jaxlab.errors import InputError

Params = Any  # {"words": [N, n], "contexts": [N, n]}


def init_params(
    key: jax.Array, vocab_size: int, dim: int, *, words: float = 0.1, contexts: float = 0.1
) -> Params:
    """Two tables of independent Gaussian entries.

    Args:
      key: typed PRNG key.
      vocab_size: N, at least 2.
      dim: n, at least 1.
      words: standard deviation of the word table, at least 0.
      contexts: that of the context table; 0 is word2vec's start for negative sampling.

    Returns:
      The params, float32.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> jax.tree.map(jnp.shape, init_params(jax.random.key(0), 5, 3))
      {'contexts': (5, 3), 'words': (5, 3)}
    """
    check_count("vocab_size", vocab_size, at_least=2)
    check_count("dim", dim)
    check_scalar("words", words, at_least=0)
    check_scalar("contexts", contexts, at_least=0)
    first, second = jax.random.split(key)
    return {
        "words": words * jax.random.normal(first, (vocab_size, dim)),
        "contexts": contexts * jax.random.normal(second, (vocab_size, dim)),
    }


# --- Full softmaxes -------------------------------------------------------------------------------


def joint_cross_entropy(params: Params, pairs: jax.Array) -> jax.Array:
    r"""Cross-entropy in nats of one softmax over all pairs, :math:`\log Z - \sum P_{ij} s_{ij}`.

    Args:
      params: tables of N words in n dimensions; logits :math:`s_{ij} = \langle u_i, v_j\rangle`.
      pairs: P [N, N], shares of the pairs, >= 0, which sum to 1.

    Returns:
      Scalar; at least the entropy of P.

    Raises:
      ValueError: the shapes do not belong together.

    Example:
      >>> params = {"words": jnp.zeros((4, 2)), "contexts": jnp.ones((4, 2))}
      >>> float(jnp.exp(joint_cross_entropy(params, jnp.eye(4) / 4)).round(3))  # of 16 pairs
      16.0
    """
    u, v = _tables(params, pairs)
    return jax.nn.logsumexp(_logits(u, v)) - jnp.sum(u * _matmul(pairs, v))


def row_cross_entropy(params: Params, pairs: jax.Array) -> jax.Array:
    r"""Cross-entropy in nats of a context given its word, one softmax for each row.

    .. math:: \sum_i P_i \log \textstyle\sum_j e^{s_{ij}} - \sum_{ij} P_{ij} s_{ij}

    Args:
      params: see `joint_cross_entropy`.
      pairs: P [N, N], shares of the pairs, >= 0, which sum to 1.

    Returns:
      Scalar; at least the conditional entropy of P.

    Raises:
      ValueError: the shapes do not belong together.

    Example:
      >>> params = {"words": jnp.zeros((4, 2)), "contexts": jnp.ones((4, 2))}
      >>> float(jnp.exp(row_cross_entropy(params, jnp.eye(4) / 4)).round(3))
      4.0
    """
    u, v = _tables(params, pairs)
    log_z = jax.nn.logsumexp(_logits(u, v), axis=1)
    return jnp.sum(pairs, axis=1) @ log_z - jnp.sum(u * _matmul(pairs, v))


def joint_entropy(params: Params) -> jax.Array:
    """Entropy in nats of the softmax over all pairs, scalar."""
    return _entropy(_logits(params["words"], params["contexts"]), axis=None)


def row_entropies(params: Params) -> jax.Array:
    """Entropy in nats of each word's softmax over contexts, [N]."""
    return _entropy(_logits(params["words"], params["contexts"]), axis=1)


def norm_ratio(params: Params) -> jax.Array:
    """Mean of |u_i||v_j| / n over all pairs: the kappa of `jaxlab.embedding_dim`, scalar."""
    u, v = params["words"], params["contexts"]
    return jnp.linalg.norm(u, axis=1).mean() * jnp.linalg.norm(v, axis=1).mean() / u.shape[1]


def _tables(params: Params, pairs: jax.Array) -> tuple[jax.Array, jax.Array]:
    u, v = params["words"], params["contexts"]
    if u.shape[1:] != v.shape[1:] or pairs.shape != (len(u), len(v)):
        raise InputError(
            f"tables have shapes {u.shape} and {v.shape}, pairs have shape {pairs.shape}"
        )
    return u, v


def _logits(u: jax.Array, v: jax.Array) -> jax.Array:
    return _matmul(u, v.T)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    # Differences of cross-entropies here are in the third digit: no bfloat16 passes on TPU.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _entropy(logits: jax.Array, axis: int | None) -> jax.Array:
    log_z = jax.nn.logsumexp(logits, axis=axis, keepdims=True)
    mean = jnp.sum(jnp.exp(logits - log_z) * logits, axis=axis, keepdims=True)
    return (log_z - mean).reshape(log_z.shape[0] if axis == 1 else ())


def fit_counts(
    key: jax.Array,
    pairs: jax.Array,
    held_out: jax.Array,
    *,
    dim: int,
    num_steps: int,
    learning_rate: float = 0.05,
    scale: float = 0.1,
    softmax: str = "joint",
    every: int = 10,
    tx: optax.GradientTransformation | None = None,
) -> tuple[Params, dict[str, jax.Array]]:
    """Fits both tables to co-occurrence shares with the full batch, as one program.

    Args:
      key: typed PRNG key of the initial tables; `vmap` over keys (and shares) for several seeds.
      pairs: P [N, N], shares that sum to 1.
      held_out: Q [N, N], the same of text that was held out.
      dim: n.
      num_steps: steps, a multiple of `every`.
      learning_rate: of Adam, constant.
      scale: standard deviation of the initial entries.
      softmax: "joint" or "conditional".
      every: steps between measurements.
      tx: the optimizer, in place of Adam at `learning_rate`.

    Returns:
      The params and {"train", "held_out"}, cross-entropies in nats [num_steps / every] after each
      `every` steps.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> pairs = jnp.eye(6) / 6
      >>> _, found = fit_counts(jax.random.key(0), pairs, pairs, dim=4, num_steps=100)
      >>> bool(found["held_out"][-1] < jnp.log(6) + 0.1), found["train"].shape  # log 6 at best
      (True, (10,))
    """
    if softmax not in SOFTMAXES:
        raise InputError(f"softmax is {softmax!r}, must be one of {', '.join(SOFTMAXES)}")
    check_count("every", every)
    check_count("num_steps", num_steps)
    check_scalar("learning_rate", learning_rate, above=0)
    check_scalar("scale", scale, at_least=0)
    if num_steps % every:
        raise InputError(f"num_steps is {num_steps}, must be a positive multiple of {every}")
    loss_fn = SOFTMAXES[softmax]
    tx = optax.with_extra_args_support(optax.adam(learning_rate) if tx is None else tx)
    grad = lambda params, _: jax.grad(loss_fn)(params, pairs)

    def step(carry, _):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, pairs)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss, grad_fn=grad)
        return (optax.apply_updates(params, updates), opt_state), None

    def stretch(carry, _):
        carry, _ = jax.lax.scan(step, carry, None, length=every)
        params = carry[0]
        return carry, {"train": loss_fn(params, pairs), "held_out": loss_fn(params, held_out)}

    params = init_params(key, len(pairs), dim, words=scale, contexts=scale)
    start = (params, tx.init(params))
    (params, _), found = jax.lax.scan(stretch, start, None, length=num_steps // every)
    return params, found


SOFTMAXES = {"joint": joint_cross_entropy, "conditional": row_cross_entropy}


# --- Negative sampling ----------------------------------------------------------------------------


def block_loss(
    words: jax.Array,
    contexts: jax.Array,
    negatives: jax.Array,
    left: jax.Array,
    right: jax.Array,
    *,
    num_negatives: float = 5.0,
) -> tuple[jax.Array, jax.Array]:
    r"""Negative sampling over stretches of text whose words share one pool of negatives.

    Each of the B words of a stretch is paired with the `left` words before and the `right` words
    after it, and each pair with all M negatives of its stretch, weighted by `num_negatives` / M.
    The expected gradient is that of `num_negatives` drawn for each pair (Mikolov et al., 2013,
    arXiv:1310.4546), but the work is three small matrix products instead of some 30 rows fetched
    and added for each word. Unlike word2vec, a negative that happens to be the context stays.

    Args:
      words: u [b, B, n] of b stretches.
      contexts: v [b, B + 2 W, n] of the same text with W words more at either end.
      negatives: v [b, M, n].
      left: int [b, B], words before, at most W; 0 with right = 0 leaves a word out.
      right: int [b, B], words after, at most W.
      num_negatives: negatives a pair.

    Returns:
      The summed loss in nats and the number of pairs, both scalar.

    Raises:
      ValueError: the shapes do not belong together.

    Example:
      >>> u, v = jnp.zeros((1, 2, 3)), jnp.zeros((1, 4, 3))  # "a b" with W = 1
      >>> loss, pairs = block_loss(u, v, v[:, :2], jnp.array([[0, 1]]), jnp.array([[1, 0]]))
      >>> round(float(loss / pairs / jnp.log(2)), 3), float(pairs)
      (6.0, 2.0)
    """
    size, reach = words.shape[1], (contexts.shape[1] - words.shape[1]) // 2
    if contexts.shape[1] != size + 2 * reach or left.shape != words.shape[:2]:
        raise InputError(
            f"words, contexts and left have shapes {words.shape}, {contexts.shape} and "
            f"{left.shape}, need [b, B, n], [b, B + 2 W, n] and [b, B]"
        )
    is_pair = _pair_mask(left, right, size + 2 * reach)
    pairs = at_least_float32(left + right)
    # Fewer, larger products: contexts and negatives side by side.
    both = jnp.concatenate([contexts, negatives], axis=1)
    scores = at_least_float32(jnp.einsum("bin,bjn->bij", words, both))
    near, far = scores[..., : size + 2 * reach], scores[..., size + 2 * reach :]
    positive = jnp.sum(jax.nn.softplus(-near), where=is_pair)
    share = num_negatives / negatives.shape[1]
    negative = share * jnp.sum(pairs[..., None] * jax.nn.softplus(far))
    return positive + negative, pairs.sum()


def summed_loss(
    params: Params, block: dict[str, Any], *, num_negatives: float = 5.0, dtype: Any = None
) -> tuple[jax.Array, jax.Array]:
    """`block_loss` of the rows of a block, see `sgd_steps`."""
    rows = lambda name, places: params[name][places].astype(dtype or params[name].dtype)
    words = rows("words", _centres(block))
    near, far = rows("contexts", block["tokens"]), rows("contexts", block["negatives"])
    reach = block["left"], block["right"]
    return block_loss(words, near, far, *reach, num_negatives=num_negatives)


def sgd_steps(
    params: Params,
    blocks: dict[str, Any],
    learning_rates: Any,
    *,
    num_negatives: float = 5.0,
    dtype: Any = None,
) -> tuple[Params, jax.Array]:
    """Plain SGD on `block_loss`, block after block, touching only the rows that occur.

    The loss is summed, not averaged, as in word2vec: the rate is that of a single pair. Words of a
    block see each other's updates only after it, so blocks should stay near 500 words.

    Args:
      params: the tables.
      blocks: S blocks of b stretches: "tokens" int [S, b, B + 2 W], "left" and "right" int
        [S, b, B], "negatives" int [S, b, M].
      learning_rates: [S].
      num_negatives: see `block_loss`.
      dtype: of the products, such as bfloat16; tables, sums and updates keep theirs. None for that
        of the tables.

    Returns:
      The new tables, and the mean loss of a pair in the first block before its step, in nats.

    Example:
      >>> params = init_params(jax.random.key(0), 4, 2)
      >>> block = {"tokens": jnp.array([[0, 0, 1, 0]]), "left": jnp.array([[0, 1]]),
      ...          "right": jnp.array([[1, 0]]), "negatives": jnp.array([[2, 3]])}
      >>> blocks = jax.tree.map(lambda x: jnp.repeat(x[None], 100, axis=0), block)
      >>> params, before = sgd_steps(params, blocks, jnp.full(100, 0.5))
      >>> _, after = sgd_steps(params, blocks, jnp.full(100, 0.5))
      >>> bool(after < 0.5 * before)
      True
    """
    size = len(params["words"])
    # One table: a single gather and a single scatter a step.
    table = jnp.concatenate([params["words"], params["contexts"]])
    first = jax.tree.map(lambda x: x[0], blocks)
    total, pairs = summed_loss(params, first, num_negatives=num_negatives, dtype=dtype)

    def step(table, inputs):
        block, rate = inputs
        return _block_step(table, block, rate, num_negatives, dtype), None

    table, _ = jax.lax.scan(step, table, (blocks, learning_rates))
    return {"words": table[:size], "contexts": table[size:]}, total / jnp.maximum(pairs, 1)


def _centres(block: dict[str, Any]) -> jax.Array:
    """Tokens [b, B] of a block without the W at either end."""
    reach = (block["tokens"].shape[1] - block["left"].shape[1]) // 2
    return block["tokens"][:, reach : reach + block["left"].shape[1]]


def _block_step(
    table: jax.Array, block: dict[str, Any], rate: Any, num_negatives: float, dtype: Any
) -> jax.Array:
    """The gradient step of `block_loss` by hand, on words and contexts one above the other.

    By hand because the gradient needs one sigmoid an entry, and no softplus.
    """
    offset = len(table) // 2
    size, near = block["left"].shape[1], block["tokens"].shape[1]
    others = jnp.concatenate([block["tokens"], block["negatives"]], axis=1) + offset
    index = jnp.concatenate([_centres(block), others], axis=1)
    rows = table[index].astype(dtype or table.dtype)
    u, v = rows[:, :size], rows[:, size:]
    product = functools.partial(jnp.einsum, preferred_element_type=table.dtype)
    sigmoid = jax.nn.sigmoid(product("bin,bjn->bij", u, v))
    share = num_negatives / block["negatives"].shape[1]
    is_pair = _pair_mask(block["left"], block["right"], near)
    pairs = (block["left"] + block["right"]).astype(table.dtype)
    pull = is_pair * (1 - sigmoid[..., :near])
    push = share * pairs[..., None] * sigmoid[..., near:]
    weights = (rate * jnp.concatenate([pull, -push], axis=-1)).astype(rows.dtype)
    du = product("bij,bjn->bin", weights, v)
    dv = product("bij,bin->bjn", weights, u)
    moves = jnp.concatenate([du, dv], axis=1)
    return table.at[index.ravel()].add(moves.reshape(-1, table.shape[1]))


def _pair_mask(left: jax.Array, right: jax.Array, near: int) -> jax.Array:
    """Which of the `near` contexts are paired with each word, bool [b, B, near]."""
    size = left.shape[1]
    offset = jnp.arange(near)[None, :] - (jnp.arange(size)[:, None] + (near - size) // 2)
    return (offset >= -left[..., None]) & (offset <= right[..., None]) & (offset != 0)
