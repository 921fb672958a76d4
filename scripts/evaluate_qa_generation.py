"""Measures a model of train_qa_generation.py on articles it has not seen.

    python scripts/evaluate_qa_generation.py --workdir=runs/questions
    python scripts/evaluate_qa_generation.py --workdir=runs/questions --reader=runs/reader

Writes to WORKDIR/evaluation (or --out) report.json, likelihood.png and report.md, and prints the
latter:
- nats a token of answers and of questions, beside a unigram model of the training targets and the
  same model with the passage or the answer hidden from it; intervals over whole articles;
- BLEU-4, ROUGE-L and first words of the best question for the gold answer, beside the most frequent
  question of the training set (needs sacrebleu and rouge-score, of the extra `text`);
- of drawn answers: how many are spans of the passage, are gold answers, are distinct; with the
  constraint and without;
- with --reader, a run trained with --config.order=question_first --config.prefix_parts=2: how many
  drawn pairs it answers as they say;
- pairs for some passages, drawn and unselected.
"""

import collections

import jax
import numpy as np
from absl import flags
from etils import epath

from jaxlab import launch, plots
from jaxlab.checks import check_scalar
from jaxlab.data.pipelines.buckets import text_eval_batches
from jaxlab.data.questions import segments
from jaxlab.data.questions import sets as qa_sets
from jaxlab.data.questions.scores import mean, text_scores, word_f1
from jaxlab.data.text import TokenSet
from jaxlab.files import output_folder, to_json, write_atomically
from jaxlab.tasks import question_generation
from jaxlab.tasks.question_generation import texts
from jaxlab.tasks.question_generation.folder import load_generator
from jaxlab.tasks.question_generation.pairs import check_options

SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "Which articles.")
OUT = flags.DEFINE_string("out", None, "Folder of the report.")
READER = flags.DEFINE_string("reader", None, "Run folder of a model that answers.")
LIMIT = flags.DEFINE_integer(
    "limit", 0, "Measure on so many triples, drawn at random; 0 for all.", lower_bound=0
)
NUM_PASSAGES = flags.DEFINE_integer(
    "num_passages", 200, "Passages to draw answers for.", lower_bound=1
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 10, "Answers to draw a passage.", lower_bound=1)
SHOWN = flags.DEFINE_integer("shown", 20, "Pairs to print.", lower_bound=0)
BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "For questions; 1 is greedy.", lower_bound=1)
TOP_P = flags.DEFINE_float("top_p", 0.95, "For answers.")
F1 = flags.DEFINE_float("f1", 0.8, "Least F1 with which the reader agrees with a pair.")
SEED = flags.DEFINE_integer("seed", 0, "Seed.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Sequences that run at once.", lower_bound=1)


class Evaluation:
    """The model, its held-out set, and the report."""

    def __init__(self, workdir):
        config = launch.read_config(workdir)
        self.generator = load_generator(workdir / "model")
        generator = self.generator
        records = qa_sets.load_records(**config.data, data_dir=launch.options().data_dir)
        sets = qa_sets.make_sets(
            {name: records[name] for name in ("train", SPLIT.value)},
            generator.tokenizer,
            generator.limits,
            order=generator.order,
            join=generator.join,
        )
        self.train, held_out = sets["train"], sets[SPLIT.value]
        order = np.random.default_rng(SEED.value).permutation(len(held_out))
        order = order[: LIMIT.value or None]
        self.triples = [held_out.triples[i] for i in order]
        self.tokens = TokenSet(
            [held_out.tokens.ids[i] for i in order], held_out.tokens.labels[order]
        )
        self.buckets = tuple(config.stages.seq2seq.buckets)
        self.report = {"split": SPLIT.value, "triples": len(self.triples)}

    # --- Likelihood -------------------------------------------------------------------------------

    def sums(self, hide=None):
        """Name -> nats, tokens [N] of every triple."""
        generator = self.generator
        metrics = question_generation.make_target_metrics(
            generator.model, generator.head, generator.layout, hide=hide
        )
        run = jax.jit(lambda params, batch: metrics(params, {}, batch, key=None))
        found = {}
        for batch in text_eval_batches(self.tokens, BATCH_SIZE.value, buckets=self.buckets):
            real = batch["mask"] > 0
            values = jax.device_get(run(generator.params, {"input_ids": batch["input_ids"]}))
            for name, value in values.items():
                found.setdefault(name, np.zeros(len(self.tokens)))[batch["index"][real]] = value[
                    real
                ]
        names = generator.layout.targets
        return {name: (found[f"{name}_nll"], found[f"{name}_tokens"]) for name in names}

    def unigram(self):
        """The same of the frequencies of the training targets, each part its own, plus one."""
        generator = self.generator
        names = generator.layout.targets
        size, end = generator.model.vocab_size, generator.layout.sep_id
        counts = {name: np.ones(size) for name in names}
        for triple in self.train.triples:
            for name in names:
                ids = segments.token_ids(getattr(triple, name), generator.tokenizer)
                np.add.at(counts[name], [*ids, end], 1)
        found = {}
        for name in names:
            nats = -np.log(counts[name] / counts[name].sum())
            rows = [
                [*segments.token_ids(getattr(t, name), generator.tokenizer), end]
                for t in self.triples
            ]
            found[name] = (
                np.array([nats[row].sum() for row in rows]),
                np.array([len(row) for row in rows], float),
            )
        return found

    def likelihood(self):
        """Nats a token, with 95 % intervals by drawing whole articles again."""
        names = self.generator.layout.names
        kinds = {"model": self.sums(), "unigram": self.unigram()}
        kinds["passage hidden"] = self.sums("passage")
        if self.generator.layout.targets[-1] == names[1]:
            kinds[f"{names[0]} hidden"] = self.sums("second")
        articles = [t.article for t in self.triples]
        members = [np.flatnonzero(np.array(articles) == a) for a in dict.fromkeys(articles)]
        rng = np.random.default_rng(SEED.value)
        draws = [
            np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
            for _ in range(500)
        ]
        table = {}
        for kind, parts in kinds.items():
            for name, (nats, tokens) in parts.items():
                if kind == f"{names[0]} hidden" and name != names[1]:
                    continue
                spread = [nats[d].sum() / tokens[d].sum() for d in draws]
                table.setdefault(kind, {})[name] = {
                    "nats": nats.sum() / tokens.sum(),
                    "interval": np.quantile(spread, [0.025, 0.975]).tolist(),
                }
        self.report["likelihood"] = {"articles": len(members), **table}

    # --- Questions --------------------------------------------------------------------------------

    def words(self, text):
        ids = segments.token_ids(text, self.generator.tokenizer)
        return segments.words(ids, self.generator.tokenizer)

    def questions(self):
        """Scores of the best question for the gold answer."""
        passages = [t.passage for t in self.triples]
        answers = [t.answer for t in self.triples]
        found = texts.ask_texts(
            self.generator,
            passages,
            answers,
            batch_size=BATCH_SIZE.value,
            beam_size=BEAM_SIZE.value,
        )
        ours = [segments.words(ids, self.generator.tokenizer) for ids in found]
        gold = [self.words(t.question) for t in self.triples]
        common = collections.Counter(t.question for t in self.train.triples).most_common(1)[0][0]
        baseline = [self.words(common)] * len(gold)
        self.report["most_frequent_question"] = common
        self.report["questions"] = {
            "model": text_scores(ours, gold),
            "most frequent question": text_scores(baseline, gold),
        }
        self.report["questions"]["model"]["exact"] = mean(
            a == b for a, b in zip(ours, gold, strict=True)
        )

    # --- Answers ----------------------------------------------------------------------------------

    def answers(self):
        """What drawn answers are, free and bound to the passage; keeps the pairs."""
        gold = {}
        for triple in self.triples:
            for text in (triple.answer, *triple.answers):
                gold.setdefault(triple.passage, set()).add(tuple(self.words(text)))
        passages = list(gold)[: NUM_PASSAGES.value]
        self.pairs, table = {}, {}
        for kind, bound in (("free", False), ("spans only", True)):
            drawn = texts.generate_texts(
                self.generator,
                passages,
                seed=SEED.value,
                num_pairs=NUM_SAMPLES.value,
                draws=NUM_SAMPLES.value,
                batch_size=max(1, BATCH_SIZE.value // NUM_SAMPLES.value),
                top_p=TOP_P.value,
                spans_only=bound,
                keep_all=True,
            )
            flat = [pair for pairs in drawn for pair in pairs]
            words = [[tuple(self.words(pair.answer)) for pair in pairs] for pairs in drawn]
            hits = [
                [w in gold[passage] for w in found]
                for passage, found in zip(passages, words, strict=True)
            ]
            covered = [
                len(set(found) & gold[passage]) / len(gold[passage])
                for passage, found in zip(passages, words, strict=True)
            ]
            table[kind] = {
                "passages": len(passages),
                "draws": NUM_SAMPLES.value,
                "spans": mean(pair.is_span for pair in flat),
                "gold": mean(hit for row in hits for hit in row),
                "gold answers found": mean(covered),
                "distinct": mean(len(set(found)) for found in words),
                "cut off": mean(not pair.ended for pair in flat),
            }
            self.pairs[kind] = [
                (passages[i], pair) for i, pairs in enumerate(drawn) for pair in distinct(pairs)
            ]
        self.report["answers"] = table

    def round_trip(self, folder):
        """How many pairs a model that answers agrees with."""
        reader = load_generator(folder / "model" if (folder / "model").exists() else folder)
        normal = lambda ids, tokenizer: segments.words(ids, tokenizer)
        read = lambda passages, questions: [
            normal(ids, reader.tokenizer)
            for ids in texts.answer_texts(reader, passages, questions, batch_size=BATCH_SIZE.value)
        ]
        own = read([t.passage for t in self.triples], [t.question for t in self.triples])
        gold = [[self.words(a) for a in (t.answer, *t.answers)] for t in self.triples]
        sides = {"gold questions": (own, gold)}
        for kind, pairs in self.pairs.items():
            asked = [(passage, pair) for passage, pair in pairs if pair.question.strip()]
            found = read([p for p, _ in asked], [pair.question for _, pair in asked])
            sides[kind] = (found, [[self.words(pair.answer)] for _, pair in asked])
        self.report["round trip"] = {}
        for kind, (found, wanted) in sides.items():
            best = [max(word_f1(a, b) for b in bs) for a, bs in zip(found, wanted, strict=True)]
            self.report["round trip"][kind] = {
                "pairs": len(found),
                "exact": mean(a in bs for a, bs in zip(found, wanted, strict=True)),
                "f1": mean(best),
                f"f1 >= {F1.value}": mean(value >= F1.value for value in best),
            }


def distinct(pairs):
    """The first of each answer."""
    return list({pair.answer: pair for pair in reversed(pairs)}.values())[::-1]


def as_markdown(report, samples):
    """The report as tables."""
    lines = [f"{report['triples']} triples of the {report['split']} articles.", ""]
    likelihood = {k: v for k, v in report["likelihood"].items() if k != "articles"}
    names = list(likelihood["model"])
    lines += [f"| nats a token | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for kind, row in likelihood.items():
        cells = []
        for name in names:
            low, high = row[name]["interval"] if name in row else (0, 0)
            cells.append(f"{row[name]['nats']:.3f} ({low:.3f}-{high:.3f})" if name in row else "")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines.append(f"\nIntervals (95 %) over {report['likelihood']['articles']} articles.\n")
    for title in ("questions", "answers", "round trip"):
        if title not in report:
            continue
        table = report[title]
        columns = list(dict.fromkeys(name for row in table.values() for name in row))
        lines += [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for kind, row in table.items():
            shown = lambda value: "none" if value is None else f"{value:.3g}"
            cells = [shown(row[c]) if c in row else "" for c in columns]
            lines.append(f"| {kind} | {' | '.join(cells)} |")
        lines.append("")
    if samples:
        lines += ["Drawn, unselected, answers bound to the passage:", ""]
        for passage, pair in samples:
            lines += [f"- {passage}", f"  Q: {pair.question}  A: {pair.answer}"]
    return "\n".join(lines) + "\n"


def draw(likelihood, path):
    """Nats a token, model and baselines side by side."""
    kinds = [kind for kind in likelihood if kind != "articles"]
    nats = lambda kind, name: likelihood[kind].get(name, {}).get("nats", np.nan)
    series = {name: [nats(kind, name) for kind in kinds] for name in likelihood["model"]}
    labels = [kind.replace(" ", "\n") for kind in kinds]
    plots.bars(series, path, labels=labels, ylabel="nats a token", title="Held-out articles")


def main(config, workdir):
    check_options(top_p=TOP_P.value)
    check_scalar("f1", F1.value, at_least=0, at_most=1)
    out = output_folder(OUT.value or workdir / "evaluation")
    evaluation = Evaluation(workdir)
    evaluation.likelihood()
    samples = []
    if evaluation.generator.layout.targets == ("answer", "question"):
        evaluation.questions()
        evaluation.answers()
        if READER.value:
            evaluation.round_trip(epath.Path(READER.value).expanduser())
        rng = np.random.default_rng(SEED.value)
        pairs = evaluation.pairs["spans only"]
        samples = [pairs[i] for i in rng.permutation(len(pairs))[: SHOWN.value]]
    elif READER.value:
        raise launch.UsageError("--reader checks pairs, and this model writes none")
    text = as_markdown(evaluation.report, samples)
    write_atomically(out / "report.json", to_json(evaluation.report, indent=2) + "\n")
    write_atomically(out / "report.md", text)
    draw(evaluation.report["likelihood"], out / "likelihood.png")
    print(text)


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir",))
