"""Question-answer triples as token numbers: a reduced vocabulary, the layout, and text again.

    [CLS] passage [SEP] answer [SEP] question [SEP]

The second and third part change places for a model that answers. Needs `tokenizers`.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxlab.checks import check_count
from jaxlab.data.formats.plain_text import whole_characters
from jaxlab.data.questions.cutting import CJK
from jaxlab.data.questions.squad import Triple
from jaxlab.data.text import TokenSet
from jaxlab.data.wordpiece import SPECIAL, library
from jaxlab.errors import InputError

if TYPE_CHECKING:
    import tokenizers

ORDERS = ("answer_first", "question_first")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Most tokens of each part, the special tokens not counted.

    Attributes:
      passage: of the passage.
      answer: of the answer.
      question: of the question.

    Example:
      >>> Limits(70, 14, 24).total
      112
    """

    passage: int
    answer: int
    question: int

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            check_count(f"limits.{name}", value)

    @property
    def total(self) -> int:
        """Most tokens of a triple, [CLS] and three [SEP] included."""
        return self.passage + self.answer + self.question + 4


def token_ids(text: str, tokenizer: tokenizers.Tokenizer) -> list[int]:
    """The tokens of a text; special tokens that it spells out ("[SEP]") are left out."""
    special, text = _special(tokenizer), whole_characters(text)
    return [i for i in tokenizer.encode(text, add_special_tokens=False).ids if i not in special]


def _special(tokenizer: tokenizers.Tokenizer) -> list[int]:
    """Ids of the tokens that stand for no text; [UNK] does."""
    ids = (tokenizer.token_to_id(token) for token in SPECIAL if token != "[UNK]")
    return [i for i in ids if i is not None]


def encode_triples(
    triples: Sequence[Triple],
    tokenizer: tokenizers.Tokenizer,
    limits: Limits,
    *,
    order: str = "answer_first",
) -> tuple[TokenSet, list[Triple], collections.Counter]:
    """Lays triples out as sequences of tokens.

    Args:
      triples: from `squad.make_triples`.
      tokenizer: as `wordpiece.load_tokenizer` returns it.
      limits: longer parts leave their triple out; nothing is truncated, since half a question
        teaches to ask half questions.
      order: "answer_first" or "question_first".

    Returns:
      (tokens, kept triples in the same order, how many were left out by reason). Labels are 0.

    Raises:
      ValueError: the order is unknown, or nothing is left.
    """
    if order not in ORDERS:
        raise InputError(f"order is {order!r}, known are {ORDERS}")
    start, end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    kept, rows, skipped = [], [], collections.Counter()
    for triple in triples:
        parts = {
            name: token_ids(getattr(triple, name), tokenizer)
            for name in ("passage", "answer", "question")
        }
        reason = next((f"empty {name}" for name, ids in parts.items() if not ids), None) or next(
            (f"{name} too long" for name, ids in parts.items() if len(ids) > getattr(limits, name)),
            None,
        )
        if reason:
            skipped[reason] += 1
            continue
        last = ("answer", "question") if order == "answer_first" else ("question", "answer")
        row = [start, *parts["passage"], end]
        for name in last:
            row += [*parts[name], end]
        kept.append(triple)
        rows.append(np.array(row, np.int32))
    if not rows:
        why = f"{dict(skipped)} with {limits}: raise the limits, or give" if triples else "give"
        raise InputError(f"none of {len(triples)} triples is left: {why} more questions")
    return TokenSet(rows, np.zeros(len(rows), np.int32)), kept, skipped


def encode_passages(
    passages: Iterable[str], tokenizer: tokenizers.Tokenizer, max_length: int
) -> TokenSet:
    """`[CLS] passage [SEP]` of each passage, cut after max_length tokens of it.

    Raises:
      ValueError: a passage is empty.
    """
    start, end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    rows = []
    for text in passages:
        ids = token_ids(text, tokenizer)[:max_length]
        if not ids:
            raise InputError(f"the passage {text[:40]!r} has no tokens, one at least is needed")
        rows.append(np.array([start, *ids, end], np.int32))
    return TokenSet(rows, np.zeros(len(rows), np.int32))


def keep_tokens(
    texts: Iterable[str], tokenizer: tokenizers.Tokenizer, *, vocab_size: int, min_count: int = 1
) -> np.ndarray:
    """Which tokens of a vocabulary to keep: the special ones, characters, and the most frequent.

    Single characters that occur in the texts stay, alone and inside words, so that a word whose
    tokens go can still be spelt.

    Args:
      texts: the training texts, and no others.
      tokenizer: of WordPiece.
      vocab_size: most tokens to keep in all.
      min_count: keep no token that occurs less often.

    Returns:
      int32 [K], ids of the tokens in ascending order, but [PAD] first.

    Raises:
      ValueError: vocab_size does not hold the special tokens and the characters.

    After the `keep_tokens` of bert4keras' examples, which drop redundant tokens of the Chinese
    vocabulary by a rule; here the texts decide, in any language.
    """
    counts = collections.Counter()
    check_count("vocab_size", vocab_size)
    texts = list(map(whole_characters, texts))
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        counts.update(encoding.ids)
    vocab = tokenizer.get_vocab()
    seen = {c for text in texts for c in tokenizer.normalizer.normalize_str(text)}  # type: ignore[union-attr]
    special = [vocab[token] for token in SPECIAL if token in vocab]
    always = {i for token, i in vocab.items() if token.removeprefix("##") in seen} | {*special}
    if len(always) > vocab_size:
        raise InputError(
            f"vocab_size is {vocab_size}, the special tokens and characters of the texts are "
            f"{len(always)}"
        )
    frequent = sorted((i for i in counts if i not in always), key=lambda i: (-counts[i], i))
    frequent = [i for i in frequent if counts[i] >= min_count][: vocab_size - len(always)]
    first = vocab["[PAD]"]
    return np.array([first, *sorted({*always, *frequent} - {first})], np.int32)


def reduce_tokenizer(
    tokenizer: tokenizers.Tokenizer, keep: Sequence[int] | np.ndarray
) -> tokenizers.Tokenizer:
    """The same WordPiece tokenizer with fewer tokens: token i of it is token keep[i] of the old.

    Words whose tokens are gone are cut into the longest tokens that are left.

    Raises:
      ValueError: it is no WordPiece tokenizer, or [PAD] does not become 0.
    """
    tree = json.loads(tokenizer.to_str())
    kind = tree["model"].get(
        "type", "WordPiece" if "max_input_chars_per_word" in tree["model"] else ""
    )
    if kind != "WordPiece":
        raise InputError(f"the tokenizer's model is {kind!r}, must be 'WordPiece'")
    names = {i: token for token, i in tokenizer.get_vocab().items()}  # added ones too
    vocab = {names[int(i)]: new for new, i in enumerate(keep)}
    if vocab.get("[PAD]") != 0:
        raise InputError(f"[PAD] becomes token {vocab.get('[PAD]')}, must become 0")
    tree["model"]["vocab"] = vocab
    added = [t for t in tree["added_tokens"] if t["content"] in vocab]
    tree["added_tokens"] = [{**t, "id": vocab[t["content"]]} for t in added]
    post = tree.get("post_processor") or {}
    for token in (post.get("special_tokens") or {}).values():
        token["ids"] = [vocab[name] for name in token["tokens"]]
    for side in ("sep", "cls"):  # of the older kind of post-processor
        if isinstance(post.get(side), list):
            post[side] = [post[side][0], vocab[post[side][0]]]
    reduced = library().Tokenizer.from_str(json.dumps(tree))
    reduced.no_padding()
    reduced.no_truncation()
    return reduced


def words(ids: Iterable[int], tokenizer: tokenizers.Tokenizer) -> list[str]:
    """The words that tokens spell, special tokens left out; Chinese characters are words.

    Example:
      >>> from jaxlab.data.wordpiece import train_wordpiece
      >>> tokenizer = train_wordpiece(["the sun, the moon"] * 3, 20)
      >>> words(token_ids("The moon, the sun", tokenizer), tokenizer)
      ['the', 'moon', ',', 'the', 'sun']
    """
    found: list[str] = []
    for i in ids:
        token = tokenizer.id_to_token(int(i))
        if token is None or (token in SPECIAL and token != "[UNK]"):
            continue
        if token.startswith("##") and found:
            found[-1] += token[2:]
        else:
            found.append(token)
    return found


def detokenize(ids: Iterable[int], tokenizer: tokenizers.Tokenizer) -> str:
    """Readable text of tokens: pieces joined, no space before a stop or between characters.

    Example:
      >>> from jaxlab.data.wordpiece import train_wordpiece
      >>> tokenizer = train_wordpiece(["who built it?"] * 3, 40)
      >>> detokenize(token_ids("Who built it?", tokenizer), tokenizer)
      'who built it?'
    """
    text = " ".join(words(ids, tokenizer))
    text = re.sub(r" ([,.;:!?%)\]}])", r"\1", text)
    text = re.sub(r"([(\[{$£€#]) ", r"\1", text)
    text = re.sub(r"(\w) (['’]) (s|t|re|ve|ll|d|m)\b", r"\1\2\3", text)
    text = re.sub(r"(\w) ([-–/]) (?=\w)", r"\1\2", text)
    text = re.sub(r"(\d)([.,]) (?=\d)", r"\1\2", text)
    return re.sub(rf"(?<=[{CJK}]) | (?=[{CJK}])", "", text)


def find_span(
    passage: str, answer: Sequence[int], tokenizer: tokenizers.Tokenizer
) -> tuple[int, int] | None:
    """Where a run of tokens stands in a passage, as written there: (start, end) in characters.

    Args:
      passage: the text.
      answer: token ids without special tokens.
      tokenizer: the one that made them.

    Returns:
      The first place, or None where the tokens are no run of the passage's tokens.

    Example:
      >>> from jaxlab.data.wordpiece import train_wordpiece
      >>> tokenizer = train_wordpiece(["ada lovelace wrote it"] * 3, 60)
      >>> find_span("By Ada Lovelace.", token_ids("ada lovelace", tokenizer), tokenizer)
      (3, 15)
    """
    encoding = tokenizer.encode(whole_characters(passage), add_special_tokens=False)
    ids, answer = encoding.ids, [int(i) for i in answer]
    if answer:
        for first in range(len(ids) - len(answer) + 1):
            if ids[first : first + len(answer)] == answer:
                return encoding.offsets[first][0], encoding.offsets[first + len(answer) - 1][1]
    return None


def span_bounds(ids: np.ndarray, tokenizer: tokenizers.Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """At which tokens of `[CLS] passage [SEP]` a span may start and end: those of whole words.

    Args:
      ids: int [N, length], padded with 0.
      tokenizer: the one that made them.

    Returns:
      (starts, ends), bool [N, length]; False for special tokens and padding.
    """
    size = tokenizer.get_vocab_size()
    tokens = [tokenizer.id_to_token(i) or "" for i in range(size)]
    inner = np.array([t.startswith("##") for t in tokens])
    real = ~np.isin(ids, _special(tokenizer))
    following = np.zeros_like(real)
    following[:, :-1] = inner[ids[:, 1:]]
    return real & ~inner[ids], real & ~following
