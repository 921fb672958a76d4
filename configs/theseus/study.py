"""BERT-of-Theseus: MiniLM from 6 layers to 3 and to 2 on two sets; a small BERT on a third.

    python scripts/fetch_data.py minilm headlines rotten_tomatoes
    python scripts/compress_bert.py --config=configs/theseus/study.py:headlines --workdir=runs/bert

- `headlines` (sarcastic or not): 22,798 for training, 2,850 each for validation and test; lengths
  up to 32 tokens. On a GPU take three epochs (`--config.stages.predecessor.num_steps=2100`) and 5
  seeds.
- `rotten_tomatoes` (snippets of film reviews, fresh or rotten): 10,192, 1,273 and 1,286, no film
  on two sides, cut at 32 tokens (the median is 26). On a GPU `--config.buckets=32,48,64`, three
  epochs (`--config.stages.predecessor.num_steps=950`), 5 seeds.
- `iflytek`: about 3,000 descriptions of Chinese apps, 119 classes, few a class; a character BERT
  of 4 layers without pretraining to 2, cut at 32 characters. A check of the mechanism, nothing
  more: its accuracies are far below those of a pretrained Chinese BERT on the full set and must not
  be compared with them.

Endings: `-6to3`, `-6to2` for one depth, `-few` for 1,000 training texts, `-bf16`, `-tiny` for
seconds, from scratch; several with commas. A run of 3 seeds and 2 depths trains 51 stages of 100 to
400 steps; a seed of `headlines` takes 37 minutes of one CPU core.
"""

from configs.theseus import base

SCRATCH = {
    "depths": (2,),
    "pretrained": "",
    "model.hidden_size": 128,
    "model.num_layers": 4,
    "model.num_heads": 4,
    "model.intermediate_size": 512,
    "model.max_positions": 32,
    **{f"stages.{kind}.num_steps": 700 for kind in ("predecessor", "direct")},
    "stages.replacing.num_steps": 500,
    "stages.successor.num_steps": 200,
    **{f"stages.{kind}.learning_rate": 5e-4 for kind in base.BASE["stages"]},
    "stages.successor.learning_rate": 2e-4,
}
WHOLE = {"limits.validation": 0}
PRESETS = {
    "headlines": {"data.name": "headlines", "buckets": (16, 24, 32), "limits.validation": 1000},
    "rotten_tomatoes": WHOLE | {"data.name": "rotten_tomatoes", "buckets": (24, 32)},
    "iflytek": WHOLE | SCRATCH | {"data.name": "iflytek", "buckets": (32,)},
    "6to3": {"depths": (3,)},
    "6to2": {"depths": (2,)},
    "few": {
        "limits.train": 1000,
        **{f"stages.{kind}.num_steps": 300 for kind in ("predecessor", "direct")},
        "stages.replacing.num_steps": 250,
        "stages.successor.num_steps": 100,
    },
    "bf16": {"model.dtype": "bfloat16"},
    "tiny": base.TINY,
}


def get_config(preset: str = ""):
    """Presets: "headlines", "rotten_tomatoes", "iflytek", and with them "6to3", "6to2", "few",
    "bf16", "tiny"; headlines where none of the first three is named."""
    return base.recipe(PRESETS["headlines"], PRESETS, preset)
