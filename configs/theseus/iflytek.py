"""BERT-of-Theseus on CLUE's iflytek, the post's table: BERT-base from 12 layers to 6 and to 3.

    python scripts/fetch_data.py google-bert/bert-base-chinese
    python scripts/compress_bert.py --config=configs/theseus/iflytek.py --workdir=runs/iflytek

Published (kexue.fm/archives/7575, accuracy on the development set, %):

                                  12 layers   6 layers   3 layers
    first layers, fine-tuned          60.11      58.99      57.96
    Theseus                                      59.61      59.36

Hardware and hours: not published, nor how many runs. 102 million parameters; 12,133 training texts,
119 classes, up to 128 characters, batch 32, Adam at a constant 2e-5: five epochs for the
predecessor, ten with a replacement rate of 0.5, five of the successor alone. Embeddings are a
module like the layers, the head reads the first token's state without a pooler, and the successor
starts from the pretrained layers: all as in the post. As there, each stage ends with its best
evaluation (`keep_best`), on the texts that are reported.

Presets: "12to6", "12to3" for one depth, "bf16", "tiny" for seconds, from scratch.
"""

from configs.theseus import base

EPOCH = 380  # of 12,133 texts
STAGES = base.BASE["stages"]
RECIPE = {
    "seeds": (0, 1, 2, 3, 4),
    "depths": (6, 3),
    "arms": ("direct", "truncated", "constant"),
    "data.name": "clue/iflytek",
    "buckets": (64, 128),
    "pretrained": "bert-base-chinese",
    "head.pooling": "cls",
    "init_from": "pretrained",
    "own_embeddings": True,
    "constant_rate": 0.5,
    "batch_size": 32,
    "keep_best": True,
    "optimizer.schedule": "constant",
    "optimizer.weight_decay": 0.0,
    "step.clip_norm": None,
    **{f"stages.{kind}.learning_rate": 2e-5 for kind in STAGES},
    **{f"stages.{kind}.warmup": 0.0 for kind in STAGES},
    "stages.predecessor.num_steps": 5 * EPOCH,
    "stages.direct.num_steps": 5 * EPOCH,
    "stages.replacing.num_steps": 10 * EPOCH,
    "stages.successor.num_steps": 5 * EPOCH,
    "stages.successor.trainable": "all",
    "log_every": 50,
    "eval_every": EPOCH,
    "checkpoint_every": EPOCH,
}
PRESETS = {
    "12to6": {"depths": (6,)},
    "12to3": {"depths": (3,)},
    "bf16": {"model.dtype": "bfloat16"},
    "tiny": base.TINY,
}


def get_config(preset: str = ""):
    """Presets: "12to6", "12to3", "bf16", "tiny", or several with commas."""
    return base.recipe(RECIPE, PRESETS, preset)
