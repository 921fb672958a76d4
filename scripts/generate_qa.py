"""Writes answers and questions for passages, with a model of train_qa_generation.py.

    python scripts/generate_qa.py --workdir=runs/questions --text=article.txt --spans_only
    cat article.txt | python scripts/generate_qa.py --workdir=runs/questions --text=-
    python scripts/generate_qa.py --workdir=runs/questions --squad=dev.json --format=jsonl

A text file holds a passage a paragraph (empty lines between them). Passages longer than those the
model was trained on are cut at sentence ends, and it is said how many. The model is read from
WORKDIR/model, or from WORKDIR itself if it is such a folder.
"""

import contextlib
import dataclasses
import pathlib
import sys

from absl import flags, logging

from jaxlab import launch
from jaxlab.data.formats.plain_text import decode_text
from jaxlab.data.questions import squad as qa
from jaxlab.data.questions.cutting import paragraphs
from jaxlab.files import check_output, replacing, to_json
from jaxlab.tasks.question_generation import texts as asking
from jaxlab.tasks.question_generation.folder import load_generator, model_folder
from jaxlab.tasks.question_generation.pairs import MODES, check_options

TEXT = flags.DEFINE_string("text", None, "Text file, or - for standard input.")
SQUAD = flags.DEFINE_string("squad", None, "File in SQuAD's format, of which contexts are read.")
OUT = flags.DEFINE_string("out", None, "File to write; by default standard output.")
FORMAT = flags.DEFINE_enum("format", "table", ["table", "jsonl"], "How to write.")
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
TOP_K = flags.DEFINE_integer("top_k", 0, "Draw from so many tokens; 0 for all.", lower_bound=0)
TOP_P = flags.DEFINE_float("top_p", 0.95, "Draw from the tokens that have this much probability.")
SPANS_ONLY = flags.DEFINE_bool("spans_only", False, "Answers are verbatim spans of the passage.")
SEED = flags.DEFINE_integer("seed", 0, "Seed.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Passages that run at once.", lower_bound=1)
LIMIT = flags.DEFINE_integer(
    "limit", 0, "Read the first so many passages; 0 for all.", lower_bound=0
)


def read_passages():
    """The texts that the flags name."""
    text, squad = TEXT.value, SQUAD.value
    if (text is None) == (squad is None):
        raise launch.UsageError("name one of --text=FILE (- for standard input) and --squad=FILE")
    if text is None:
        found = qa.read_contexts(squad or "")
        texts = [passage for passage in found if passage.strip()]
        if len(texts) < len(found):
            logging.warning("%s: %d empty contexts left out", squad, len(found) - len(texts))
    else:
        where = "standard input" if text == "-" else text
        raw = sys.stdin.buffer.read() if text == "-" else pathlib.Path(text).read_bytes()
        texts = paragraphs(decode_text(raw, where))
        if not texts:
            raise launch.UsageError(f"{where} is empty: it holds no passage")
    return texts[: LIMIT.value or None]


def as_table(passage, pairs):
    """Readable lines for one passage."""
    lines = [passage]
    for pair in pairs:
        marks = [] if pair.is_span else ["not in the passage"]
        marks += [] if pair.ended else ["cut off"]
        note = f"  [{', '.join(marks)}]" if marks else ""
        lines.append(f"  Q: {pair.question}{note}")
        scores = f"answer {pair.answer_log_prob:.1f}, question {pair.question_log_prob:.1f}"
        lines.append(f"  A: {pair.answer}  (log p: {scores})")
    return "\n".join([*lines, ""])


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
    file = check_output(OUT.value) if OUT.value else None
    texts = read_passages()
    generator = load_generator(model_folder(workdir))
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
    with contextlib.ExitStack() as stack:
        out = sys.stdout
        if file is not None:
            part = stack.enter_context(replacing(file))
            out = stack.enter_context(open(part, "w", encoding="utf8"))
        for (text, passage), pairs in zip(passages, found, strict=True):
            if FORMAT.value == "table":
                print(as_table(passage, pairs), file=out)
                continue
            for pair in pairs:
                record = {**dataclasses.asdict(pair), "text": text, "passage": passage}
                print(to_json(record, ensure_ascii=False), file=out)


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=())
