"""Word vectors on text8: does the quality stop growing at 8.33 log N dimensions?

    python scripts/train_embeddings.py --config=configs/embeddings/text8.py:20k --workdir=runs/20k

The corpus is text8 (17 million words of Wikipedia in one line), or any text like it, as the file
`text8` of the folder that the command is given in, else `--config.corpus=FILE,FILE`.

Published (kexue.fm/archives/7695): n > 8.33 log N dimensions are enough, no figure; hardware and
hours: not published. Vocabularies of 20,000, 40,000 and 70,000 words, and 8.33 log N of them:

    preset    20k   40k   70k
    8.33 log   82    88    93

Presets: "20k", "40k", "70k" (the most frequent words), and with them "half" and "double" for half
and twice as many dimensions, "quarter" and "fourfold"; where quality (the rank correlations at the
end of the run) stops growing is the answer. Settings are word2vec's: window 5, five negatives, five
passes. About two minutes each on two CPU cores at the speed of `negative_sampling.py`, estimated;
more devices change nothing. "tiny" ends in seconds, on the corpus `english`.
"""

import math

from configs.embeddings import base
from jaxlab import launch

SIZES = {"20k": 20_000, "40k": 40_000, "70k": 70_000}
TIMES = {"quarter": 0.25, "half": 0.5, "double": 2.0, "fourfold": 4.0}
RECIPE = {
    "corpus": "text8",
    "min_count": 1,
    "blocks.steps": 400,
    "blocks.stretches": 8,
    "blocks.length": 16,
    "show": ("king", "water", "france", "computer", "good"),
}
TINY = {
    "fast_compile": True,
    "corpus": "english",
    "dim": 8,
    "epochs": 1,
    "max_tokens": 30_000,
    "max_words": 500,
    "blocks.steps": 50,
    "log_every": 1,
    "checkpoint_every": 2,
}
OTHERS = {"tiny": TINY, "bf16": {"dtype": "bfloat16"}}


def get_config(preset: str = "20k"):
    """Presets: "20k", "40k", "70k"; "quarter", "half", "double", "fourfold"; "bf16", "tiny"."""
    names = launch.chosen(preset, {**SIZES, **TIMES, **OTHERS})
    size = next((SIZES[name] for name in names if name in SIZES), SIZES["20k"])
    times = math.prod(TIMES[name] for name in names if name in TIMES)
    found = {"max_words": size, "dim": round(times * 8.33 * math.log(size))}
    others = ",".join(name for name in OTHERS if name in names)
    return launch.recipe(base.SAMPLING, RECIPE | found, presets=OTHERS, preset=others)
