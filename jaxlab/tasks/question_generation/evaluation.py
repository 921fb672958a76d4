"""What a generator is worth on articles it has not seen: likelihood, questions, answers, pairs."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxlab.data.pipelines.buckets import text_eval_batches
from jaxlab.data.questions import segments, sets
from jaxlab.data.questions.scores import mean, text_scores, word_f1
from jaxlab.data.text import TokenSet
from jaxlab.studies import tables
from jaxlab.tasks.question_generation import texts
from jaxlab.tasks.question_generation.folder import Generator
from jaxlab.tasks.question_generation.losses import make_target_metrics

Sums = dict[str, tuple[np.ndarray, np.ndarray]]  # name of a target -> nats [N], tokens [N]
DRAWS = 500  # of whole articles, for an interval


class Evaluation:
    """A generator, its training targets, and the held-out triples that it is measured on.

    Args:
      generator: the model.
      records: split -> records, from `sets.load_records`.
      split: which articles to measure on.
      buckets: lengths to pad to.
      batch_size: sequences that run at once.
      limit: measure on this number of triples drawn at random; 0 for all.
      seed: of all draws.

    Attributes:
      triples: those measured on.
      predictions: what the model wrote for them, a line of JSONL each, once `questions` or
        `reading` has run: "id", "passage", "answer" and "question" as given, "prediction", and
        "references", a list of what people wrote in its place.
    """

    def __init__(
        self,
        generator: Generator,
        records: dict[str, Any],
        *,
        split: str = "test",
        buckets: Sequence[int],
        batch_size: int = 32,
        limit: int = 0,
        seed: int = 0,
    ):
        self.generator, self.seed = generator, seed
        self._buckets, self._batch_size = tuple(buckets), batch_size
        found = sets.make_sets(
            {name: records[name] for name in ("train", split)},
            generator.tokenizer,
            generator.limits,
            order=generator.order,
            join=generator.join,
        )
        self._train, held_out = found["train"].triples, found[split]
        order = np.random.default_rng(seed).permutation(len(held_out))[: limit or None]
        self.triples = [held_out.triples[i] for i in order]
        ids = [held_out.tokens.ids[i] for i in order]
        self._tokens = TokenSet(ids, held_out.tokens.labels[order])
        self.predictions: list[dict[str, Any]] = []

    def _words(self, text: str) -> list[str]:
        ids = segments.token_ids(text, self.generator.tokenizer)
        return segments.words(ids, self.generator.tokenizer)

    def _gold(self, triple: Any) -> list[list[str]]:
        return [self._words(text) for text in (triple.answer, *triple.answers)]

    def likelihood(self) -> dict[str, Any]:
        """Nats per token of each target, with 95 % intervals by drawing whole articles again.

        Returns:
          {"articles", kind -> {target -> {"nats", "interval"}}}: "model", "unigram", and the model
          with a part hidden from it.
        """
        layout = self.generator.layout
        first, second = layout.names
        kinds = {
            "model": self._sums(),
            "unigram": unigram(
                self._targets(self._train),
                self._targets(self.triples),
                self.generator.model.vocab_size,
            ),
            "passage hidden": self._sums("passage"),
        }
        if layout.targets[-1] == second:
            kinds[f"{first} hidden"] = {second: self._sums("second")[second]}
        articles = [triple.article for triple in self.triples]
        return {"articles": len(set(articles)), **intervals(kinds, articles, seed=self.seed)}

    def _sums(self, hide: str | None = None) -> Sums:
        generator = self.generator
        metrics = make_target_metrics(generator.model, generator.head, generator.layout, hide=hide)
        run = jax.jit(lambda params, batch: metrics(params, {}, batch, key=None))
        found: dict[str, np.ndarray] = {}
        for batch in text_eval_batches(self._tokens, self._batch_size, buckets=self._buckets):
            real = batch["mask"] > 0
            values = jax.device_get(run(generator.params, {"input_ids": batch["input_ids"]}))
            for name, value in values.items():
                rows = found.setdefault(name, np.zeros(len(self._tokens)))
                rows[batch["index"][real]] = value[real]
        names = generator.layout.targets
        return {name: (found[f"{name}_nll"], found[f"{name}_tokens"]) for name in names}

    def _targets(self, triples: Iterable[Any]) -> dict[str, list[list[int]]]:
        """Name -> token ids of each target, with the end."""
        layout, tokenizer, triples = self.generator.layout, self.generator.tokenizer, list(triples)
        ids = lambda triple, name: segments.token_ids(getattr(triple, name), tokenizer)
        return {
            name: [[*ids(triple, name), layout.sep_id] for triple in triples]
            for name in layout.targets
        }

    def questions(self, *, beam_size: int = 1) -> tuple[str, dict[str, Any]]:
        """The training set's most frequent question, and scores of it and of the model's best.

        Args:
          beam_size: of the search for the question of each gold answer.
        """
        found = texts.ask_texts(
            self.generator,
            [triple.passage for triple in self.triples],
            [triple.answer for triple in self.triples],
            batch_size=self._batch_size,
            beam_size=beam_size,
        )
        self.predictions = [
            {
                **_given(triple, but="question"),
                "prediction": segments.detokenize(ids, self.generator.tokenizer),
                "references": [triple.question],
            }
            for triple, ids in zip(self.triples, found, strict=True)
        ]
        ours = [segments.words(ids, self.generator.tokenizer) for ids in found]
        gold = [self._words(triple.question) for triple in self.triples]
        common = collections.Counter(t.question for t in self._train).most_common(1)[0][0]
        exact = mean(a == b for a, b in zip(ours, gold, strict=True))
        return common, {
            "model": {**text_scores(ours, gold), "exact": exact},
            "most frequent question": text_scores([self._words(common)] * len(gold), gold),
        }

    def answers(
        self,
        *,
        num_passages: int = 200,
        num_samples: int = 10,
        top_p: float = 0.95,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, list[tuple[str, texts.QAPair]]]]:
        """What drawn answers are, free and bound to the passage; and their pairs.

        Args:
          num_passages: to draw for.
          num_samples: answers per passage.
          top_p: of the draws.
          **options: of `texts.generate_texts`, such as `mode`.
        """
        gold: dict[str, set[tuple[str, ...]]] = {}
        for triple in self.triples:
            gold.setdefault(triple.passage, set()).update(map(tuple, self._gold(triple)))
        passages = list(gold)[:num_passages]
        found, kept = {}, {}
        for kind, bound in (("free", False), ("spans only", True)):
            drawn = texts.generate_texts(
                self.generator,
                passages,
                seed=self.seed,
                num_pairs=num_samples,
                draws=num_samples,
                batch_size=max(1, self._batch_size // num_samples),
                top_p=top_p,
                spans_only=bound,
                keep_all=True,
                **options,
            )
            words = [[tuple(self._words(pair.answer)) for pair in pairs] for pairs in drawn]
            found[kind] = {
                "passages": len(passages),
                "draws": num_samples,
                **describe_answers(drawn, words, [gold[passage] for passage in passages]),
            }
            kept[kind] = [
                (passage, pair)
                for passage, pairs in zip(passages, drawn, strict=True)
                for pair in distinct(pairs)
            ]
        return found, kept

    def reading(self, *, f1: float = 0.8) -> dict[str, Any]:
        """What a model that answers makes of people's questions.

        Args:
          f1: see `round_trip`.
        """
        tokenizer = self.generator.tokenizer
        passages = [triple.passage for triple in self.triples]
        questions = [triple.question for triple in self.triples]
        size = self._batch_size
        found = texts.answer_texts(self.generator, passages, questions, batch_size=size)
        self.predictions = []
        for triple, ids in zip(self.triples, found, strict=True):
            span = segments.find_span(triple.passage, ids, tokenizer)
            text = triple.passage[slice(*span)] if span else segments.detokenize(ids, tokenizer)
            answers = list(dict.fromkeys((triple.answer, *triple.answers)))
            given = _given(triple, but="answer")
            self.predictions.append({**given, "prediction": text, "references": answers})
        words = [segments.words(ids, tokenizer) for ids in found]
        return {"gold questions": agreement(words, [self._gold(t) for t in self.triples], f1=f1)}

    def round_trip(
        self,
        reader: Generator,
        pairs: Mapping[str, Sequence[tuple[str, texts.QAPair]]],
        *,
        f1: float = 0.8,
    ) -> dict[str, Any]:
        """How many gold triples, and pairs, a model that answers agrees with.

        Args:
          reader: a generator that answers questions.
          pairs: from `answers`.
          f1: least F1 of words with which it agrees.
        """

        def read(passages, questions):
            options = {"batch_size": self._batch_size}
            found = texts.answer_texts(reader, passages, questions, **options)
            return [segments.words(ids, reader.tokenizer) for ids in found]

        own = read([t.passage for t in self.triples], [t.question for t in self.triples])
        sides = {"gold questions": agreement(own, [self._gold(t) for t in self.triples], f1=f1)}
        for kind, drawn in pairs.items():
            asked = [(passage, pair) for passage, pair in drawn if pair.question.strip()]
            found = read([p for p, _ in asked], [pair.question for _, pair in asked])
            sides[kind] = agreement(found, [[self._words(p.answer)] for _, p in asked], f1=f1)
        return sides


def _given(triple: Any, *, but: str) -> dict[str, str]:
    names = (name for name in ("id", "passage", "answer", "question") if name != but)
    return {name: getattr(triple, name) for name in names}


def unigram(
    train: Mapping[str, Sequence[Sequence[int]]],
    held_out: Mapping[str, Sequence[Sequence[int]]],
    vocab_size: int,
) -> Sums:
    """Nats and tokens under the frequencies of the training targets, each part its own, plus one.

    Args:
      train: name -> token ids of each target.
      held_out: likewise, to measure.
      vocab_size: tokens in all.

    Example:
      >>> nats, tokens = unigram({"answer": [[1, 1]]}, {"answer": [[1], [0, 1]]}, 2)["answer"]
      >>> nats.round(3).tolist(), tokens.tolist()  # 3 / 4 and 1 / 4
      ([0.288, 1.674], [1.0, 2.0])
    """
    found = {}
    for name, rows in train.items():
        counts = np.ones(vocab_size)
        for row in rows:
            np.add.at(counts, list(row), 1)
        nats = -np.log(counts / counts.sum())
        measured = held_out[name]
        found[name] = (
            np.array([nats[list(row)].sum() for row in measured]),
            np.array([len(row) for row in measured], float),
        )
    return found


def intervals(
    kinds: Mapping[str, Sums], articles: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """Nats per token, and what they would be for other articles.

    Args:
      kinds: kind -> name -> nats and tokens of N triples.
      articles: of each triple; whole ones are drawn again, as their triples are alike.
      seed: of the draws.

    Returns:
      kind -> name -> {"nats", "interval": 2.5 % and 97.5 % quantiles}.

    Example:
      >>> sums = {"answer": (np.array([2.0, 4.0]), np.array([1.0, 1.0]))}
      >>> intervals({"model": sums}, ["a", "b"])["model"]["answer"]
      {'nats': 3.0, 'interval': [2.0, 4.0]}
    """
    members = [np.flatnonzero(np.array(articles) == a) for a in dict.fromkeys(articles)]
    rng = np.random.default_rng(seed)
    draws = [
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        for _ in range(DRAWS)
    ]

    def one(nats, tokens):
        spread = [nats[d].sum() / tokens[d].sum() for d in draws]
        interval = np.quantile(spread, [0.025, 0.975]).tolist()
        return {"nats": float(nats.sum() / tokens.sum()), "interval": interval}

    return {k: {name: one(*sums) for name, sums in part.items()} for k, part in kinds.items()}


def describe_answers(
    drawn: Sequence[Sequence[texts.QAPair]],
    words: Sequence[Sequence[tuple[str, ...]]],
    gold: Sequence[set[tuple[str, ...]]],
) -> dict[str, float | None]:
    """Shares of drawn answers that are spans, gold, cut off; of gold answers found; distinct ones.

    Args:
      drawn: pairs of each passage.
      words: their answers, word by word.
      gold: answers that people gave to questions on each passage.
    """
    flat = [pair for pairs in drawn for pair in pairs]
    rows = list(zip(words, gold, strict=True))
    return {
        "spans": mean(pair.is_span for pair in flat),
        "gold": mean(answer in known for found, known in rows for answer in found),
        "gold answers found": mean(len(set(found) & known) / len(known) for found, known in rows),
        "distinct": mean(len(set(found)) for found in words),
        "cut off": mean(not pair.ended for pair in flat),
    }


def agreement(
    found: Sequence[Sequence[str]], wanted: Sequence[Sequence[Sequence[str]]], *, f1: float = 0.8
) -> dict[str, Any]:
    """How often answers are one of those wanted, word by word or nearly so.

    Example:
      >>> agreement([["a"], ["a", "b"]], [[["a"]], [["c"], ["b"]]], f1=0.6)
      {'pairs': 2, 'exact': 0.5, 'f1': 0.8333333333333333, 'f1 >= 0.6': 1.0}
    """
    best = [max(word_f1(a, b) for b in bs) for a, bs in zip(found, wanted, strict=True)]
    return {
        "pairs": len(found),
        "exact": mean(a in bs for a, bs in zip(found, wanted, strict=True)),
        "f1": mean(best),
        f"f1 >= {f1}": mean(value >= f1 for value in best),
    }


def distinct(pairs: Sequence[texts.QAPair]) -> list[texts.QAPair]:
    """The first pair of each answer."""
    return list({pair.answer: pair for pair in reversed(pairs)}.values())[::-1]


def markdown(report: Mapping[str, Any], samples: Sequence[tuple[str, texts.QAPair]] = ()) -> str:
    """The report as tables.

    Args:
      report: {"triples", "split", "likelihood"}, and the parts "questions", "answers", "round
        trip" and "reading" that there are.
      samples: passages and pairs to show.
    """
    likelihood = {k: v for k, v in report["likelihood"].items() if k != "articles"}
    names = list(likelihood["model"])
    shown = lambda row: f"{row['nats']:.3f} [{', '.join(f'{x:.3f}' for x in row['interval'])}]"
    rows = [
        [kind, *(shown(row[name]) if name in row else "" for name in names)]
        for kind, row in likelihood.items()
    ]
    text = f"{report['triples']} triples of the {report['split']} articles.\n\n"
    text += tables.markdown(["nats per token", *names], rows)
    text += f"\nIntervals (95 %) over {report['likelihood']['articles']} articles.\n\n"
    number = lambda value: "none" if value is None else f"{value:.3g}"
    for title in ("questions", "answers", "round trip", "reading"):
        part = report.get(title)
        if part is not None:
            columns = list(dict.fromkeys(name for row in part.values() for name in row))
            rows = [
                [kind, *(number(row[c]) if c in row else "" for c in columns)]
                for kind, row in part.items()
            ]
            text += tables.markdown([title, *columns], rows) + "\n"
    if samples:
        text += "Drawn, unselected, answers bound to the passage:\n\n"
        for passage, pair in samples:
            text += f"- {passage}\n  Q: {pair.question}  A: {pair.answer}\n"
    return text
