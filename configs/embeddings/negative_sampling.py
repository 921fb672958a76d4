"""Word vectors by skip-gram with negative sampling, at the speed of the corpus.

    python scripts/train_embeddings.py --config=configs/embeddings/negative_sampling.py \\
        --workdir=runs/words

Five passes over 2.5 million words; seconds on two cores. Writes vectors.txt in word2vec's text
format, neighbours.txt and plane.png.

Preset: `negative_sampling.py:tiny` ends in seconds and only proves that everything runs.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.job = "negative_sampling"
    config.seed = 0

    config.corpus = "english"  # or the path of a text file
    config.min_count = 5
    config.dim = 100
    config.epochs = 5

    # Keyword arguments of jaxlab.data.skipgram.SkipgramBlocks.
    config.blocks = ml_collections.ConfigDict(
        {
            "steps": 400,
            "stretches": 8,
            "length": 16,
            "window": 5,
            "negatives": 16,
            "power": 0.75,
            "subsample": 1e-3,
            "shuffle": False,  # word2vec's order: the encyclopedia comes last
        }
    )
    config.num_negatives = 5.0  # weight of the negatives: as if this many were drawn for each pair
    config.learning_rate = 0.025  # falls linearly to the final one, as word2vec's
    config.final_learning_rate = 1e-4

    config.log_every = 10
    config.eval_every = 0  # batches between rank correlations; 0 for the last only
    config.checkpoint_every = 36
    config.show = ("king", "water", "france", "computer", "good")  # neighbours
    config.plane = (  # groups of words in the picture
        "king queen prince lord duke emperor",
        "father mother brother sister son daughter uncle",
        "france germany spain italy england america europe",
        "hand head eye foot arm face",
        "day night morning evening week month year",
        "river sea lake ocean shore island",
        "two three four five six seven",
        "algebra theory physics mathematics logic",
    )

    if preset == "tiny":
        config.fast_compile = True
        config.dim = 8
        config.epochs = 1
        config.max_tokens = 30_000
        config.blocks.steps = 50
        config.log_every = 1
        config.checkpoint_every = 2
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    config.max_tokens = config.get("max_tokens", 0)  # of the corpus; 0 for all
    return config
