"""Answers and questions from Chinese passages with BERT-base, the post's setting.

    python scripts/fetch_data.py google-bert/bert-base-chinese
    python scripts/train_qa_generation.py --config=configs/qa_generation/webqa.py \
        --workdir=runs/webqa
    python scripts/generate_qa.py --workdir=runs/webqa --text=article.txt

The data folder must hold `WebQA.json` and `SogouQA.json`, in the form that the post's script reads:
a list of {"id", "question", "passages": [{"passage", "answer"}]}. Passages without an answer are
left out and counted.

Published (kexue.fm/archives/7630): examples, no number; hardware and hours not published. As in its
script: passages of up to 127 tokens, answers of 14, questions of 62, batches of 32, Adam at a
constant 1e-5, at most 100 times 1,000 steps. Here by default half of that, which is ours; a tenth
of the questions, whole articles of them, are held out for validation, and as many for test.

Presets: "bf16"; "tiny" (seconds, from scratch).
"""

from configs.qa_generation import base

RECIPE = {
    "data.name": "webqa",
    "data.files": ("WebQA.json", "SogouQA.json"),
    "limits.passage": 127,
    "limits.answer": 14,
    "limits.question": 62,
    "max_validation": 2000,
    "pretrained": "bert-base-chinese",
    "vocab_size": 13_600,  # about what is left there
    "optimizer.schedule": "constant",
    "optimizer.weight_decay": 0.0,
    "stages.seq2seq.num_steps": 50_000,
    "stages.seq2seq.learning_rate": 1e-5,
    "stages.seq2seq.warmup": 0.0,
    "stages.seq2seq.buckets": (128, 160, 207),
    "stages.mlm.buckets": (129,),  # for --config.stages.mlm.num_steps above 0
    "checkpoint_every": 1000,
}
TINY = {
    "vocab_size": 4000,
    "limits.question": 30,
    "stages.seq2seq.buckets": (88,),
    "batch_size": 16,
}


def get_config(preset: str = ""):
    """Presets: "bf16" and "tiny"."""
    return base.recipe(RECIPE, TINY, preset)
