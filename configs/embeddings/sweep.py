"""How wide should an embedding be? Dimensions swept on real text, several seeds in one program.

    python scripts/train_embeddings.py --config=configs/embeddings/sweep.py --workdir=runs/sweep

Each seed draws its own held-out blocks of text and initial vectors. Six minutes on two cores; N =
3000 (`--config.vocab_sizes='(3000,)'`) takes fifteen.

Presets: `sweep.py:less` takes a tenth of the text, which shows what the best dimension depends on;
`sweep.py:conditional` fits one softmax per word; `sweep.py:tiny` ends in seconds.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "", "less", "conditional" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.job = "sweep"
    config.seeds = 3

    config.corpus = "english"  # or the path of a text file
    config.share = 1.0  # of the blocks of text; the rest is not used at all
    config.window = 5
    config.held_out = 0.1
    config.block_tokens = 2000

    config.vocab_sizes = (100, 300, 1000)
    config.dims = (2, 4, 8, 16, 32, 64, 128, 256)

    # Keyword arguments of jaxlab.models.skipgram.fit_counts.
    config.fit = ml_collections.ConfigDict(
        {
            "num_steps": 600,
            "learning_rate": 0.05,
            "scale": 0.1,
            "softmax": "joint",
        }
    )
    config.min_pairs = 50  # judged word pairs in the vocabulary below which no correlation is given

    if preset == "less":
        config.share = 0.1
        config.vocab_sizes = (300, 1000)
    elif preset == "conditional":
        config.fit.softmax = "conditional"
        config.vocab_sizes = (300, 1000)
    elif preset == "tiny":
        config.fast_compile = True
        config.seeds = 2
        config.share = 0.1
        config.vocab_sizes = (60,)
        config.dims = (2, 4, 8)
        config.fit.num_steps = 40
    elif preset:
        raise ValueError(f"preset is {preset!r}, known are 'less', 'conditional' and 'tiny'")
    return config
