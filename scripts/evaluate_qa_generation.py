"""Measures a model of train_qa_generation.py on articles it has not seen.

    python scripts/evaluate_qa_generation.py --workdir=runs/questions
    python scripts/evaluate_qa_generation.py --workdir=runs/questions --reader=runs/reader

Writes to WORKDIR/evaluation (or --out) report.json, likelihood.png and report.md, and prints the
latter:
- nats per token of answers and of questions, compared with a unigram model of the training targets
  and the same model with the passage or the answer hidden from it; intervals over whole articles;
- BLEU-4, ROUGE-L and first words of the best question for the gold answer, compared with the most
  frequent question of the training set (needs sacrebleu and rouge-score, of the extra `text`);
- of drawn answers: how many are spans of the passage, are gold answers, are distinct; with the
  constraint and without;
- with --reader, a run trained with --config.order=question_first --config.prefix_parts=2: how many
  drawn pairs it answers as they say;
- pairs for some passages, drawn and unselected.

Of a run that answers, exact and F1 of its answers to people's questions. predictions.jsonl has what
the model wrote for each question measured on ("id", what it was given, "prediction", "references"),
for sacrebleu, rouge-score and others; answers.json, {id: answer}, is what SQuAD's scorer takes.
"""

import numpy as np
from absl import flags

from jaxlab import launch, plots
from jaxlab.checks import check_scalar
from jaxlab.data.questions import sets
from jaxlab.files import output_folder, to_json, write_atomically
from jaxlab.tasks.question_generation import evaluation, written
from jaxlab.tasks.question_generation.folder import load_generator, load_reader
from jaxlab.tasks.question_generation.pairs import MODES, check_options

SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "Which articles.")
OUT = flags.DEFINE_string("out", None, "Folder of the report.")
READER = flags.DEFINE_string("reader", None, "Run folder of a model that answers.")
LIMIT = flags.DEFINE_integer(
    "limit", 0, "Measure on N triples drawn at random; 0 for all.", lower_bound=0
)
NUM_PASSAGES = flags.DEFINE_integer(
    "num_passages", 200, "Passages to draw answers for.", lower_bound=1
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 10, "Answers per passage.", lower_bound=1)
MODE = flags.DEFINE_enum("mode", MODES[0], list(MODES), "How pairs are drawn: see generate_qa.py.")
SHOWN = flags.DEFINE_integer("shown", 20, "Pairs to print.", lower_bound=0)
BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "For questions; 1 is greedy.", lower_bound=1)
TOP_P = flags.DEFINE_float("top_p", 0.95, "For answers.")
F1 = flags.DEFINE_float("f1", 0.8, "Least F1 with which the reader agrees with a pair.")
SEED = flags.DEFINE_integer("seed", 0, "Seed.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Sequences that run at once.", lower_bound=1)


def draw(likelihood, path):
    """Nats per token, model and baselines next to each other."""
    kinds = [kind for kind in likelihood if kind != "articles"]
    nats = lambda kind, name: likelihood[kind].get(name, {}).get("nats", np.nan)
    series = {name: [nats(kind, name) for kind in kinds] for name in likelihood["model"]}
    labels = [kind.replace(" ", "\n") for kind in kinds]
    plots.bars(series, path, labels=labels, ylabel="nats per token", title="Held-out articles")


def main(config, workdir):
    check_options(top_p=TOP_P.value)
    check_scalar("f1", F1.value, at_least=0, at_most=1)
    out = output_folder(OUT.value or workdir / "evaluation")
    config = launch.read_config(workdir)
    generator = load_generator(workdir / "model")
    measured = evaluation.Evaluation(
        generator,
        sets.load_records(**config.data, data_dir=launch.options().data_dir),
        split=SPLIT.value,
        buckets=config.stages.seq2seq.buckets,
        batch_size=BATCH_SIZE.value,
        limit=LIMIT.value,
        seed=SEED.value,
    )
    report = {"split": SPLIT.value, "triples": len(measured.triples)}
    report["likelihood"] = measured.likelihood()
    samples = []
    if generator.layout.targets == ("answer", "question"):
        found = measured.questions(beam_size=BEAM_SIZE.value)
        report["most_frequent_question"], report["questions"] = found
        report["answers"], pairs = measured.answers(
            num_passages=NUM_PASSAGES.value,
            num_samples=NUM_SAMPLES.value,
            top_p=TOP_P.value,
            mode=MODE.value,
        )
        if READER.value:
            reader = load_reader(launch.full_path(READER.value))
            report["round trip"] = measured.round_trip(reader, pairs, f1=F1.value)
        bound = pairs["spans only"]
        order = np.random.default_rng(SEED.value).permutation(len(bound))
        samples = [bound[i] for i in order[: SHOWN.value]]
    elif READER.value:
        raise launch.UsageError("--reader checks pairs, and this model writes none")
    elif generator.layout.targets == ("answer",):
        report["reading"] = measured.reading(f1=F1.value)
    of = "answers" if "reading" in report else "questions"
    written.write_predictions(out, measured.predictions, of=of)
    text = evaluation.markdown(report, samples)
    write_atomically(out / "report.json", to_json(report, indent=2) + "\n")
    write_atomically(out / "report.md", text)
    draw(report["likelihood"], out / "likelihood.png")
    print(text)


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir",))
