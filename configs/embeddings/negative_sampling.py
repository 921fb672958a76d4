"""Word vectors by skip-gram with negative sampling, at the speed of the corpus.

    python scripts/train_embeddings.py --config=configs/embeddings/negative_sampling.py \\
        --workdir=runs/words

Five passes over 2.5 million words; seconds on two cores. Writes vectors.txt in word2vec's text
format, neighbours.txt and plane.png.

Presets: `negative_sampling.py:tiny` ends in seconds and only proves that everything runs; `bf16`
computes products in bfloat16.
"""

from configs.embeddings import base
from jaxlab import launch

RECIPE = {
    "blocks.steps": 400,
    "blocks.stretches": 8,
    "blocks.length": 16,
    "blocks.shuffle": False,  # word2vec's order: the encyclopedia comes last
    "show": ("king", "water", "france", "computer", "good"),
    "plane": (
        "king queen prince lord duke emperor",
        "father mother brother sister son daughter uncle",
        "france germany spain italy england america europe",
        "hand head eye foot arm face",
        "day night morning evening week month year",
        "river sea lake ocean shore island",
        "two three four five six seven",
        "algebra theory physics mathematics logic",
    ),
}
TINY = {
    "fast_compile": True,
    "dim": 8,
    "epochs": 1,
    "max_tokens": 30_000,
    "blocks.steps": 50,
    "log_every": 1,
    "checkpoint_every": 2,
}


def get_config(preset: str = ""):
    """Presets: "tiny", "bf16", or both with a comma."""
    presets = {"tiny": TINY, "bf16": {"dtype": "bfloat16"}}
    return launch.recipe(base.SAMPLING, RECIPE, presets=presets, preset=preset)
