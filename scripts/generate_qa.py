"""Writes answers and questions for passages, with a model of train_qa_generation.py.

    python scripts/generate_qa.py --workdir=runs/questions --text=article.txt --spans_only
    cat article.txt | python scripts/generate_qa.py --workdir=runs/questions --text=-
    python scripts/generate_qa.py --workdir=runs/questions --squad=dev.json --format=jsonl
    python scripts/generate_qa.py --workdir=runs/questions --text=article.txt --spans_only \\
        --min_score=-3 --reader=runs/reader --f1=0.8 --format=squad --out=pairs.json

A text file holds a passage a paragraph (empty lines between them). Passages longer than those the
model was trained on are cut at sentence ends, and it is said how many. The model is read from
WORKDIR/model, or from WORKDIR itself if it is such a folder.

--min_score keeps pairs of at least this log-probability per token of answer and question, the
"score" that is written. --reader names a run that answers questions (trained with
--config.order=question_first --config.prefix_parts=2): pairs are kept whose question it answers
as they say, up to the F1 of words --f1. How many were left out, and why, is said at the end.

Fields of --format=jsonl are listed in jaxlab/tasks/question_generation/written.py; --format=squad
writes a file that this library and other readers of SQuAD's format take.
"""

from absl import flags, logging

from jaxlab import launch
from jaxlab.checks import check_scalar
from jaxlab.files import check_output, write_atomically
from jaxlab.tasks.question_generation import texts as asking
from jaxlab.tasks.question_generation import written
from jaxlab.tasks.question_generation.folder import load_generator, load_reader, model_folder
from jaxlab.tasks.question_generation.pairs import MODES, check_options

TEXT = flags.DEFINE_string("text", None, "Text file, or - for standard input.")
SQUAD = flags.DEFINE_string("squad", None, "File in SQuAD's format, of which contexts are read.")
OUT = flags.DEFINE_string("out", None, "File to write; by default standard output.")
FORMAT = flags.DEFINE_enum("format", "table", list(written.FORMATS), "How to write.")
MODE = flags.DEFINE_enum(
    "mode",
    MODES[0],
    list(MODES),
    "Answers drawn and each with its best question; both drawn; or the best of both.",
)
NUM_PAIRS = flags.DEFINE_integer("num_pairs", 3, "Most pairs per passage.", lower_bound=1)
BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "Of searches; 1 is greedy.", lower_bound=1)
LENGTH_PENALTY = flags.DEFINE_float("length_penalty", 0.0, "Power of the length scores are over.")
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Of draws.")
TOP_K = flags.DEFINE_integer("top_k", 0, "Draw from the N likeliest; 0 for all.", lower_bound=0)
TOP_P = flags.DEFINE_float("top_p", 0.95, "Draw from the tokens that have this much probability.")
MIN_SCORE = flags.DEFINE_float("min_score", None, "Least log-probability per token of a pair.")
READER = flags.DEFINE_string("reader", None, "Run folder of a model that must agree.")
F1 = flags.DEFINE_float("f1", 0.8, "Least F1 with which the reader agrees with a pair.")
SPANS_ONLY = flags.DEFINE_bool("spans_only", False, "Answers are verbatim spans of the passage.")
SEED = flags.DEFINE_integer("seed", 0, "Seed.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Passages that run at once.", lower_bound=1)
LIMIT = flags.DEFINE_integer("limit", 0, "Read the first N passages; 0 for all.", lower_bound=0)


def main(config, workdir):
    options = {
        "mode": MODE.value,
        "beam_size": BEAM_SIZE.value,
        "length_penalty": LENGTH_PENALTY.value,
        "temperature": TEMPERATURE.value,
        "top_k": TOP_K.value,
        "top_p": TOP_P.value,
    }
    check_options(num_pairs=NUM_PAIRS.value, **options)
    check_scalar("f1", F1.value, at_least=0, at_most=1)
    file = check_output(OUT.value) if OUT.value else None
    texts = written.read_passages(TEXT.value, SQUAD.value)[: LIMIT.value or None]
    generator = load_generator(model_folder(workdir))
    reader = load_reader(launch.full_path(READER.value)) if READER.value else None
    passages = asking.cut_texts(generator, texts)
    cut = len(passages) - len(texts)
    if cut:
        logging.info(
            "%d texts were cut into %d passages of at most %d tokens",
            len(texts),
            len(passages),
            generator.limits.passage,
        )
    found = asking.generate_texts(
        generator,
        [passage for _, passage in passages],
        seed=SEED.value,
        num_pairs=NUM_PAIRS.value,
        batch_size=BATCH_SIZE.value,
        spans_only=SPANS_ONLY.value,
        **options,
    )
    pairs, left_out = written.keep_pairs(
        written.as_pairs(passages, found),
        min_score=MIN_SCORE.value,
        reader=reader,
        f1=F1.value,
        batch_size=BATCH_SIZE.value,
    )
    if left_out:
        kept = sum(map(len, pairs))
        logging.info("%d pairs kept, left out: %s", kept, dict(left_out))
    text = written.write(passages, pairs, FORMAT.value)
    if file is None:
        print(text, end="")
    else:
        write_atomically(file, text)


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=())
