"""Answers and questions from English passages: MiniLM under a prefix mask.

    python scripts/fetch_data.py minilm
    python scripts/train_qa_generation.py --config=configs/qa_generation/english.py \
        --workdir=runs/questions
    python scripts/generate_qa.py --workdir=runs/questions --text=article.txt --spans_only
    python scripts/evaluate_qa_generation.py --workdir=runs/questions

SQuAD 1.1's development set and SQuADShifts' new Wikipedia part, which the data folder must hold:
18,501 questions on 96 articles, split by article. They are evaluation sets: fine for showing that
the method works, nothing to release a model from.
The run takes about 75 minutes of one CPU core, and is still learning when it ends; on a GPU take
`--config.stages.mlm.num_steps=1000 --config.stages.seq2seq.num_steps=6000`.
Presets: `tiny` (seconds, from scratch, without the pretrained model), `bf16`.
For the round trip of the evaluation, a model that answers: `--config.order=question_first
--config.prefix_parts=2 --config.stages.seq2seq.num_steps=500 --workdir=runs/reader`.
"""

from configs.qa_generation import base

RECIPE = {
    "data.files": ("squad-dev-v1.1.json.gz", "squadshifts-new-wiki-v1.0.json.gz"),
    "limits.passage": 70,
    "limits.answer": 14,
    "limits.question": 24,
    "max_validation": 500,
    "pretrained": "minilm",
    "vocab_size": 10000,
    "stages.mlm.num_steps": 300,
    "stages.mlm.buckets": (40, 72),
    "stages.seq2seq.num_steps": 1000,
    "stages.seq2seq.buckets": (72, 88, 112),
}
TINY = {
    "max_train": 400,
    "vocab_size": 600,
    "stages.seq2seq.buckets": (82,),
    "batch_size": 16,
}


def get_config(preset: str = ""):
    """Presets: "tiny", "bf16", or both with a comma."""
    return base.recipe(RECIPE, TINY, preset)
