"""How wide should an embedding be? Dimensions swept on real text, several seeds in one program.

    python scripts/train_embeddings.py --config=configs/embeddings/sweep.py --workdir=runs/sweep

Each seed draws its own held-out blocks of text and initial vectors. Six minutes on two cores; N =
3000 (`--config.vocab_sizes='(3000,)'`) takes fifteen.

Presets: `sweep.py:less` takes a tenth of the text, which shows what the best dimension depends on;
`sweep.py:conditional` fits one softmax per word; `sweep.py:tiny` ends in seconds.
"""

from configs.embeddings import base
from jaxlab import launch

RECIPE = {
    "vocab_sizes": (100, 300, 1000),
    "dims": (2, 4, 8, 16, 32, 64, 128, 256),
    "fit.num_steps": 600,
    "fit.learning_rate": 0.05,
    "fit.scale": 0.1,
    "fit.softmax": "joint",
}
PRESETS = {
    "less": {"share": 0.1, "vocab_sizes": (300, 1000)},
    "conditional": {"fit.softmax": "conditional", "vocab_sizes": (300, 1000)},
    "tiny": {
        "fast_compile": True,
        "seeds": 2,
        "share": 0.1,
        "vocab_sizes": (60,),
        "dims": (2, 4, 8),
        "fit.num_steps": 40,
    },
}


def get_config(preset: str = ""):
    """Presets: "less", "conditional" and "tiny", or several with commas."""
    return launch.recipe(base.SWEEP, RECIPE, presets=PRESETS, preset=preset)
