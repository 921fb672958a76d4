"""Answers and questions from Chinese passages: a small BERT from scratch, characters as tokens.

    python scripts/train_qa_generation.py --config=configs/qa_generation/chinese.py \
        --workdir=runs/questions_zh

CMRC 2018's and DRCD's development sets, which the data folder must hold: 6,743 questions on 1,231
articles, in simplified and in traditional characters. Enough to show the mechanism, far too little
to learn a language from nothing. 40 minutes of one CPU core. Each key is explained in english.py.
Presets: `tiny` (seconds).
"""

import ml_collections

from jaxlab import launch, optim


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 0

    files = ("cmrc2018-dev.json.gz", "drcd-dev.json.gz")
    config.data = ml_collections.ConfigDict({"files": files, "shares": (0.1, 0.1), "split_seed": 0})
    config.limits = ml_collections.ConfigDict({"passage": 90, "answer": 20, "question": 36})
    config.join = True
    config.max_train = 0
    config.max_validation = 600

    config.order = "answer_first"
    config.prefix_parts = 1

    config.pretrained = ""
    config.layers = 0
    config.vocab_size = 8000  # of which 6,000 are characters
    config.model = ml_collections.ConfigDict(
        {
            "hidden_size": 256,
            "num_layers": 4,
            "num_heads": 4,
            "intermediate_size": 1024,
            "max_positions": 256,
            "dropout": 0.1,
            "attention_dropout": 0.1,
        }
    )
    config.frozen = ()

    stage = lambda steps, rate, buckets: ml_collections.ConfigDict(
        {"num_steps": steps, "learning_rate": rate, "warmup": 0.1, "buckets": buckets}
    )
    config.stages = ml_collections.ConfigDict(
        {"mlm": stage(1500, 5e-4, (60, 92)), "seq2seq": stage(1500, 5e-4, (100, 120, 150))}
    )
    config.mask_rate = 0.15
    config.replace = 0.0
    config.batch_size = 16
    # Of jaxlab.optim.make_optimizer; rates and warm-up are those of the stages. Decay is of kernels
    # and embeddings; biases and scales of layer norms are left alone, as in BERT.
    config.optimizer = ml_collections.ConfigDict(
        launch.defaults(optim.make_optimizer, rows=optim.rows(), but=launch.OF_STAGES)
        | {"name": "adamw", "schedule": "linear", "weight_decay": 0.01}
    )
    config.step = ml_collections.ConfigDict({"clip_norm": 1.0, "accumulate": 1})

    config.eval_batch_size = 32
    config.log_every = 20
    config.checkpoint_every = 300

    if preset == "tiny":
        config.fast_compile = True
        config.max_train, config.max_validation = 300, 40
        config.limits.update(passage=40, answer=14, question=30)
        config.vocab_size = 4000
        config.model.update(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32)
        config.model.update(max_positions=96)
        config.update({"stages": {"mlm": {"num_steps": 4, "buckets": (42,)}}})
        config.update({"stages": {"seq2seq": {"num_steps": 6, "buckets": (88,)}}})
        config.eval_batch_size = 16
        config.log_every = 1
        config.checkpoint_every = 3
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    return config
