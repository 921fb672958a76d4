"""Answers and questions from Chinese passages: a small BERT from scratch, characters as tokens.

    python scripts/train_qa_generation.py --config=configs/qa_generation/chinese.py \
        --workdir=runs/questions_zh

CMRC 2018's and DRCD's development sets, which the data folder must hold: 6,743 questions on 1,231
articles, in simplified and in traditional characters. Enough to show the mechanism, far too little
to learn a language from nothing. 40 minutes of one CPU core. Each key is explained in base.py.
Presets: `tiny` (seconds), `bf16`.
"""

from configs.qa_generation import base

RECIPE = {
    "data.files": ("cmrc2018-dev.json.gz", "drcd-dev.json.gz"),
    "limits.passage": 90,
    "limits.answer": 20,
    "limits.question": 36,
    "max_validation": 600,
    "vocab_size": 8000,  # of which 6,000 are characters
    "model.hidden_size": 256,
    "model.num_layers": 4,
    "model.num_heads": 4,
    "model.intermediate_size": 1024,
    "model.max_positions": 256,
    **{f"stages.{stage}.num_steps": 1500 for stage in ("mlm", "seq2seq")},
    **{f"stages.{stage}.learning_rate": 5e-4 for stage in ("mlm", "seq2seq")},
    "stages.mlm.buckets": (60, 92),
    "stages.seq2seq.buckets": (100, 120, 150),
    "batch_size": 16,
    "checkpoint_every": 300,
}
TINY = {
    "max_train": 300,
    "limits.answer": 14,
    "limits.question": 30,
    "vocab_size": 4000,
    "stages.seq2seq.buckets": (88,),
}


def get_config(preset: str = ""):
    """Presets: "tiny", "bf16", or both with a comma."""
    return base.recipe(RECIPE, TINY, preset)
