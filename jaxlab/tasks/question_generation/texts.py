"""From texts to answers and questions as text, with a trained `Generator`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxlab.checks import check_count
from jaxlab.data.questions import cutting, segments
from jaxlab.errors import InputError
from jaxlab.models.bert.cache import encode_prefix
from jaxlab.tasks.question_generation.folder import Generator
from jaxlab.tasks.question_generation.pairs import MODES, answer, ask, generate_pairs

_LENGTH_STEP = 24  # passages are padded to multiples of this: few shapes, few programs


@dataclasses.dataclass(frozen=True)
class QAPair:
    """An answer and a question for it.

    Attributes:
      passage: the number of the passage, as given.
      answer: as the passage has it, where it is a run of the passage's tokens.
      question: the question, in the tokenizer's case.
      answer_log_prob: log p(answer | passage), end included.
      question_log_prob: log p(question | passage, answer), end included.
      is_span: whether the answer is a run of the passage's tokens.
      ended: whether both ended within their limits.
      start: where the answer starts in the passage, in characters; -1 where it is no span.
      tokens: of answer and question, ends included.
    """

    passage: int
    answer: str
    question: str
    answer_log_prob: float
    question_log_prob: float
    is_span: bool
    ended: bool
    start: int
    tokens: int

    @property
    def score(self) -> float:
        """Log-probability of answer and question per token: pairs of any length compare."""
        return (self.answer_log_prob + self.question_log_prob) / self.tokens


def cut_texts(generator: Generator, texts: Sequence[str]) -> list[tuple[int, str]]:
    """(number of the text, passage) for passages short enough for the model.

    Raises:
      ValueError: there is no text, or one has no tokens.
    """
    length = lambda text: len(segments.token_ids(text, generator.tokenizer))
    if not texts:
        raise InputError("there is no passage, at least one is needed")
    found = []
    for i, text in enumerate(texts):
        parts = cutting.segment(text, generator.limits.passage, length=length, join=generator.join)
        parts = [part for _, part in parts if length(part)]
        if not parts:
            raise InputError(f"passage {i} is empty: {text[:40]!r} has no tokens")
        found += [(i, part) for part in parts]
    return found


def make_generate(
    generator: Generator,
    *,
    mode: str = MODES[0],
    num_pairs: int = 1,
    spans_only: bool = False,
    **options: Any,
) -> Callable[..., Any]:
    """Makes the compiled `(params, ids, keys, starts, ends) -> Pairs` of some options.

    Raises:
      ValueError: the model was trained to answer, not to ask.
    """
    if generator.layout.targets != ("answer", "question"):
        raise InputError(
            f"the model writes {' and '.join(generator.layout.targets)} "
            f"(order {generator.order!r}), asking needs one that writes answer and question"
        )
    call = functools.partial(
        generate_pairs,
        generator.model,
        generator.head,
        mode=mode,
        num_pairs=num_pairs,
        max_answer=generator.limits.answer + 1,
        max_question=generator.limits.question + 1,
        eos_id=generator.layout.sep_id,
        forbid=generator.forbid,
        **options,
    )

    def run(params, ids, keys, starts, ends):
        return call(params, ids, key=keys, spans=(starts, ends) if spans_only else None)

    return jax.jit(run)


def generate_texts(
    generator: Generator,
    passages: Sequence[str],
    *,
    seed: int = 0,
    num_pairs: int = 1,
    draws: int | None = None,
    keep_all: bool = False,
    batch_size: int = 16,
    **options: Any,
) -> list[list[QAPair]]:
    """Pairs for each passage, in order.

    Args:
      generator: from `load_generator`.
      passages: texts of at most `generator.limits.passage` tokens, such as `cut_texts` makes.
      seed: of all draws; those of passage i depend on (seed, i) alone.
      num_pairs: most pairs a passage; fewer where fewer answers are distinct.
      draws: answers to draw, of which repeated ones are dropped; by default 2 num_pairs, and
        num_pairs in the mode "beam", whose answers are distinct.
      keep_all: whether to keep the answers that are left out otherwise, to count them: repeated
        ones, and with `spans_only` those cut off at the limit, which may end inside a word.
      batch_size: passages that run at once.
      **options: of `generate_pairs` (mode, beam_size, top_p, ...), and `spans_only`.

    Returns:
      For each passage its pairs.

    Raises:
      ValueError: an option is out of range, or a passage has no tokens.
    """
    check_count("num_pairs", num_pairs)
    check_count("batch_size", batch_size)
    check_count("seed", seed, at_least=0, below=None)
    if draws is not None:
        check_count("draws", draws)
    beam = options.get("mode") == "beam"
    count = draws or (num_pairs if beam else 2 * num_pairs)
    run = make_generate(generator, num_pairs=count, **options)
    whole_only = options.get("spans_only", False)
    keep = lambda new, ended: keep_all or (new and (ended or not whole_only))
    tokens = segments.encode_passages(passages, generator.tokenizer, generator.limits.passage)
    found: list[list[QAPair]] = [[] for _ in passages]
    order = np.argsort(tokens.lengths, kind="stable")
    for first in range(0, len(order), batch_size):
        rows = np.resize(order[first : first + batch_size], min(batch_size, len(order)))
        ids = pad_rows([tokens.ids[i] for i in rows.tolist()], generator.limits.passage + 2)
        starts, ends = segments.span_bounds(ids, generator.tokenizer)
        each = jax.vmap(jax.random.fold_in, (None, 0))
        keys = each(jax.random.key(seed), jnp.asarray(rows))
        pairs = jax.device_get(run(generator.params, ids, keys, starts, ends))
        for row, index in enumerate(rows[: len(order) - first].tolist()):
            text = passages[index]
            read = _texts(generator, text, index, pairs, row, keep)
            found[index] = read[:num_pairs]
        done = min(first + batch_size, len(order))
        logging.log_every_n_seconds(logging.INFO, "%d of %d passages", 10, done, len(order))
    return found


def pad_rows(rows: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """int32 [N, length], padded with 0; the length is one of few, at most `longest` if that does.

    Example:
      >>> pad_rows([np.array([2, 5, 3])], 9).shape, pad_rows([np.ones(30)], 99).shape
      ((1, 9), (1, 48))
    """
    need = max(len(row) for row in rows)
    size = -(-need // _LENGTH_STEP) * _LENGTH_STEP
    ids = np.zeros((len(rows), size if need > longest else min(size, longest)), np.int32)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids


def _texts(generator, passage, index, pairs, row, keep) -> list[QAPair]:
    found, seen = [], set()
    end = generator.layout.sep_id
    strip = lambda tokens: [int(t) for t in tokens if t not in (0, end)]
    answers, questions = pairs
    for i in range(answers.tokens.shape[1]):
        tokens = strip(answers.tokens[row, i])
        if not tokens or not keep(tuple(tokens) not in seen, answers.ended[row, i]):
            continue
        seen.add(tuple(tokens))
        span = segments.find_span(passage, tokens, generator.tokenizer)
        written = segments.detokenize(tokens, generator.tokenizer)
        found.append(
            QAPair(
                index,
                passage[slice(*span)] if span else written,
                segments.detokenize(strip(questions.tokens[row, i]), generator.tokenizer),
                float(answers.log_probs[row, i]),
                float(questions.log_probs[row, i]),
                span is not None,
                bool(answers.ended[row, i] and questions.ended[row, i]),
                span[0] if span else -1,
                int(answers.lengths[row, i] + questions.lengths[row, i]),
            )
        )
    return found


def ask_texts(
    generator: Generator,
    passages: Sequence[str],
    answers: Sequence[str],
    *,
    batch_size: int = 32,
    beam_size: int = 1,
    length_penalty: float = 0.0,
) -> list[list[int]]:
    """The best question for each passage and a given answer, as tokens."""
    size = generator.limits.answer
    encode = functools.partial(segments.token_ids, tokenizer=generator.tokenizer)
    given = [np.array(encode(text)[:size], np.int32) for text in answers]

    @jax.jit
    def run(params, ids, second):
        prefix, _ = encode_prefix(generator.model, params, ids)
        return ask(
            generator.model, generator.head, params, prefix, second,
            eos_id=generator.layout.sep_id, max_length=generator.limits.question + 1,
            forbid=generator.forbid, beam_size=beam_size, length_penalty=length_penalty,
        ).tokens  # fmt: skip

    tokens = segments.encode_passages(passages, generator.tokenizer, generator.limits.passage)

    def batch(rows):
        ids = pad_rows([tokens.ids[i] for i in rows], generator.limits.passage + 2)
        second = np.zeros((len(rows), 1, size), np.int32)
        for k, i in enumerate(rows):
            second[k, 0, : len(given[i])] = given[i]
        return run(generator.params, ids, second)

    return _in_batches(batch, tokens.lengths, batch_size, generator.layout.sep_id)


def answer_texts(
    reader: Generator,
    passages: Sequence[str],
    questions: Sequence[str],
    *,
    batch_size: int = 32,
) -> list[list[int]]:
    """The best answer of a model that was trained to answer, as tokens.

    Raises:
      ValueError: the model was trained for something else.
    """
    if reader.layout.targets != ("answer",):
        raise InputError(
            f"the model writes {' and '.join(reader.layout.targets)}, the round trip needs one "
            "trained with order question_first and prefix_parts 2"
        )
    tokenizer, end = reader.tokenizer, reader.layout.sep_id
    tokens = segments.encode_passages(passages, tokenizer, reader.limits.passage)
    rows_of = []
    for ids, question in zip(tokens.ids, questions, strict=True):
        words = segments.token_ids(question, tokenizer)[: reader.limits.question]
        rows_of.append(np.array([*ids, *words, end], np.int32))

    @jax.jit
    def run(params, ids):
        prefix, last = encode_prefix(reader.model, params, ids)
        return answer(
            reader.model, reader.head, params, prefix, last, count=1, eos_id=end,
            max_length=reader.limits.answer + 1, forbid=reader.forbid,
        ).tokens  # fmt: skip

    longest = reader.limits.passage + reader.limits.question + 3
    batch = lambda rows: run(reader.params, pad_rows([rows_of[i] for i in rows], longest))
    return _in_batches(batch, [len(row) for row in rows_of], batch_size, end)


def _in_batches(run, lengths, batch_size: int, end: int) -> list[list[int]]:
    """Tokens [rows, 1, length] of all rows, those of like length together, in order."""
    order = np.argsort(lengths, kind="stable")
    found: list[list[int]] = [[] for _ in order]
    for first in range(0, len(order), batch_size):
        rows = np.resize(order[first : first + batch_size], min(batch_size, len(order)))
        tokens = np.asarray(run(rows))[:, 0]
        for row, index in zip(tokens, rows[: len(order) - first], strict=False):
            found[index] = [int(t) for t in row if t not in (0, end)]
    return found
