"""Generating answers and questions with BERT: the strategies over `cache`'s decoding step."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab import decoding
from jaxlab.checks import check_count, check_scalar
from jaxlab.errors import InputError
from jaxlab.models.bert.cache import (
    Prefix,
    append_tokens,
    empty_cache,
    encode_prefix,
    make_step,
    next_logits,
)
from jaxlab.models.bert.heads import MaskedLMHead
from jaxlab.models.bert.model import Bert

MODES = ("sampled_answers", "sampled", "beam")


class Pairs(NamedTuple):
    """Answers and questions, n a passage.

    Attributes:
      answers: `decoding.Decoded` with leaves [batch, n, ...].
      questions: alike; question i asks for answer i.
    """

    answers: decoding.Decoded
    questions: decoding.Decoded


def check_options(
    *,
    mode: str = MODES[0],
    num_pairs: int = 1,
    beam_size: int = 1,
    length_penalty: float = 0.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> None:
    """Raises `ValueError` for options of `generate_pairs` out of range, also those a mode ignores.

    Example:
      >>> check_options(temperature=0.0)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: temperature is 0.0, must be above 0
    """
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}, known are {MODES}")
    check_count("num_pairs", num_pairs)
    check_count("beam_size", beam_size)
    check_scalar("length_penalty", length_penalty, at_least=0)
    check_scalar("temperature", temperature, above=0)
    check_count("top_k", top_k, at_least=0)
    check_scalar("top_p", top_p, above=0, at_most=1)


def ask(
    model: Bert,
    head: MaskedLMHead,
    params: Mapping[str, Any],
    prefix: Prefix,
    answers: jax.Array,
    *,
    eos_id: int,
    max_length: int,
    forbid: Sequence[int] = (),
    beam_size: int = 1,
    length_penalty: float = 0.0,
    key: jax.Array | None = None,
    **sampling: Any,
) -> decoding.Decoded:
    """The third part, given the second: a question for each answer.

    Args:
      model: the encoder.
      head: its head.
      params: {"bert", "head"}.
      prefix: of the passages.
      answers: int [batch, n, length], padded with 0; an end that is missing is put there.
      eos_id: the separator.
      max_length: most tokens of a question, the end included.
      forbid: tokens that may not come.
      beam_size: of the search; 1 is greedy.
      length_penalty: see `decoding.beam_search`.
      key: None for the best question; for random ones a key [] or keys [batch n].
      **sampling: temperature, top_k, top_p.

    Returns:
      Questions with leaves [batch, n, ...].
    """
    batch, copies, length = answers.shape
    rows = answers.reshape(batch * copies, length)
    size = jnp.sum((rows != 0) & (rows != eos_id), axis=1, keepdims=True)
    rows = jnp.pad(rows, ((0, 0), (0, 1)))
    rows = jnp.where(jnp.arange(length + 1) == size, eos_id, rows)
    # With the end, and without the last token of the question, which nothing follows.
    cache = empty_cache(model, prefix, length + max_length, copies=copies)
    states, cache = append_tokens(model, params, prefix, cache, rows, rows != 0)
    last = jnp.take_along_axis(states, size[:, :, None], axis=1)[:, 0]
    logits = next_logits(head, params, last)
    step_fn = make_step(model, head, params, prefix)
    options = {"max_length": max_length, "eos_id": eos_id, "forbid": forbid}
    if key is not None:
        found = decoding.sample(step_fn, cache, logits, key=key, **options, **sampling)
    elif beam_size == 1:
        found = decoding.greedy(step_fn, cache, logits, **options)
    else:
        best = decoding.beam_search(
            step_fn, cache, logits, beam_size=beam_size, num_results=1,
            length_penalty=length_penalty, **options,
        )  # fmt: skip
        found = jax.tree.map(lambda x: x[:, 0], _unranked(best))
    return jax.tree.map(lambda x: x.reshape(batch, copies, *x.shape[1:]), found)


def answer(
    model: Bert,
    head: MaskedLMHead,
    params: Mapping[str, Any],
    prefix: Prefix,
    last: jax.Array,
    *,
    count: int,
    eos_id: int,
    max_length: int,
    forbid: Sequence[int] = (),
    beam_size: int = 1,
    length_penalty: float = 0.0,
    key: jax.Array | None = None,
    constraint: decoding.Constraint | None = None,
    **sampling: Any,
) -> decoding.Decoded:
    """The second part: answers, or in a model of other order what comes there.

    Args:
      model: the encoder.
      head: its head.
      params: {"bert", "head"}.
      prefix: from `encode_prefix`, as is `last`.
      last: [batch, hidden].
      count: n, answers a passage.
      eos_id: the separator.
      max_length: most tokens of an answer, the end included.
      forbid: tokens that may not come.
      beam_size: of the search without a key; at least n.
      length_penalty: see `decoding.beam_search`.
      key: None for the n best; for random answers, each on its own, a key [] or keys [batch n].
      constraint: over [batch] rows, such as `decoding.span_constraint`.
      **sampling: temperature, top_k, top_p.

    Returns:
      Answers with leaves [batch, n, ...].
    """
    batch = last.shape[0]
    logits = next_logits(head, params, last)
    step_fn = make_step(model, head, params, prefix)
    options = {"max_length": max_length, "eos_id": eos_id, "forbid": forbid}
    if key is None:
        cache = empty_cache(model, prefix, max_length)
        found = decoding.beam_search(
            step_fn, cache, logits, beam_size=max(beam_size, count), num_results=count,
            length_penalty=length_penalty, constraint=constraint, **options,
        )  # fmt: skip
        return _unranked(found)
    repeat = lambda x: jnp.repeat(x, count, axis=0)
    if constraint is not None:
        constraint = constraint._replace(state=jax.tree.map(repeat, constraint.state))
    cache = empty_cache(model, prefix, max_length, copies=count)
    found = decoding.sample(
        step_fn, cache, repeat(logits), key=key, constraint=constraint, **options, **sampling
    )
    return jax.tree.map(lambda x: x.reshape(batch, count, *x.shape[1:]), found)


def generate_pairs(
    model: Bert,
    head: MaskedLMHead,
    params: Mapping[str, Any],
    input_ids: ArrayLike,
    *,
    key: jax.Array,
    mode: str = "sampled_answers",
    num_pairs: int = 1,
    max_answer: int,
    max_question: int,
    eos_id: int,
    forbid: Sequence[int] = (),
    beam_size: int = 1,
    length_penalty: float = 0.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    spans: tuple[ArrayLike, ArrayLike] | None = None,
) -> Pairs:
    r"""Answers that passages contain, and questions that ask for them.

    .. math:: p(\text{answer} \mid \text{passage})\; p(\text{question} \mid \text{passage, answer})

    Args:
      model: the encoder.
      head: its head.
      params: {"bert", "head"}.
      input_ids: int [batch, length], `[CLS] passage [SEP]`, padded with 0.
      key: of all draws: typed key [], of which passage b gets `fold_in(key, b)`, or keys [batch].
      mode: "sampled_answers" draws answers, so that there are many, and takes the best question for
        each, so that it does not drift off the passage; "sampled" draws both; "beam" draws nothing
        and takes the num_pairs best answers.
      num_pairs: n; draws may repeat an answer.
      max_answer: most tokens of an answer, the end included, as for `max_question`.
      max_question: of a question.
      eos_id: the separator.
      forbid: tokens that may not come, such as [UNK].
      beam_size: of searches; 1 is greedy.
      length_penalty: of searches.
      temperature: of draws, as are `top_k` and `top_p`.
      top_k: 0 for all tokens.
      top_p: 1 for all tokens.
      spans: (starts, ends), bool [batch, length]: answers are then verbatim spans of the passage
        that start and end there, but for one cut off at `max_answer`, which may end anywhere; None
        lets the model write what it likes.

    Returns:
      Pairs, with log-probabilities.

    Raises:
      ValueError: an argument is unknown or out of range.

    The mode "sampled_answers" is that of `the post <https://kexue.fm/archives/7630>`_; there
    nothing binds answers to the passage.
    """
    check_options(
        mode=mode,
        num_pairs=num_pairs,
        beam_size=beam_size,
        length_penalty=length_penalty,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    batch = jnp.shape(input_ids)[0]
    keys = _each(key, batch) if key.ndim == 0 else key
    if keys.shape != (batch,):
        raise InputError(f"key has shape {keys.shape}, must be () or ({batch},)")
    # One key an answer and one a question: no draw depends on what else is in the batch.
    first, second = (
        jax.vmap(lambda key, part=part: _each(jax.random.fold_in(key, part), num_pairs))(
            keys
        ).reshape(-1)
        for part in range(2)
    )
    prefix, last = encode_prefix(model, params, input_ids)
    constraint = None
    if spans is not None:
        ids = jnp.asarray(input_ids)
        inside = (ids != 0) & (ids != eos_id) & (jnp.arange(ids.shape[1]) > 0)
        constraint = decoding.span_constraint(
            ids, inside, vocab_size=model.vocab_size, eos_id=eos_id, starts=spans[0], ends=spans[1]
        )
    options = {
        "eos_id": eos_id,
        "forbid": forbid,
        "beam_size": beam_size,
        "length_penalty": length_penalty,
    }
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    answers = answer(
        model, head, params, prefix, last, count=num_pairs, max_length=max_answer,
        key=None if mode == "beam" else first, constraint=constraint, **options, **sampling,
    )  # fmt: skip
    questions = ask(
        model, head, params, prefix, answers.tokens, max_length=max_question,
        key=second if mode == "sampled" else None, **options, **sampling,
    )  # fmt: skip
    return Pairs(answers, questions)


def _each(key: jax.Array, count: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def _unranked(beams: decoding.Beams) -> decoding.Decoded:
    return decoding.Decoded(beams.tokens, beams.lengths, beams.log_probs, beams.ended)
