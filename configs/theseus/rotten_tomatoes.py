"""BERT-of-Theseus on snippets of film reviews (fresh or rotten), MiniLM from 6 layers to 3 and 2.

    python scripts/fetch_data.py minilm rotten_tomatoes
    python scripts/compress_bert.py --config=configs/theseus/rotten_tomatoes.py --workdir=runs/rt

10,192 training snippets, 1,273 and 1,286 for validation and test, no film on two sides, cut at 32
tokens (the median is 26). Presets: `6to3`, `6to2`, `few` (1,000 training snippets), `tiny`
(seconds, without the pretrained model). On a GPU take `--config.buckets=32,48,64`, three epochs
(`--config.stages.predecessor.num_steps=950`) and 5 seeds.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "", "6to3", "6to2", "few" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seeds = (0, 1, 2)
    config.depths = (3, 2)
    config.arms = ("direct", "distill", "truncated", "constant", "curriculum")

    # Arguments of jaxlab.data.text.load_text; 0 takes all of a split.
    config.data = ml_collections.ConfigDict({"name": "rotten_tomatoes", "split_seed": 0})
    config.limits = ml_collections.ConfigDict({"train": 0, "validation": 0, "test": 0})
    config.buckets = (24, 32)
    config.truncate = True

    # Folder in the data folder, and attributes of jaxlab.models.bert.Bert that differ from it.
    # Without a pretrained folder: all attributes, and the size of a vocabulary to train.
    config.pretrained = "minilm"
    config.model = ml_collections.ConfigDict({"dropout": 0.1, "attention_dropout": 0.1})
    config.vocab_size = 2000
    config.head = ml_collections.ConfigDict({"pooling": "mean", "dropout": 0.1})

    # Where the successor starts: layers "first", "spread" or "last", of the "predecessor" (the
    # authors' code) or the "pretrained" model (the paper). Embeddings shared and frozen (the
    # paper), or a module of their own (Su).
    config.layers = "first"
    config.init_from = "predecessor"
    config.own_embeddings = False

    config.constant_rate = 0.5
    config.curriculum = ml_collections.ConfigDict({"base": 0.3, "reach": 0.7})
    # Arguments of jaxlab.models.bert.make_distillation_loss.
    config.distillation = ml_collections.ConfigDict({"temperature": 2.0, "soft": 0.5})

    # trainable: "all", "layers" (embeddings and head frozen, as in the authors' code), or
    # "layers+head". The truncated control's first stage has the settings of "replacing".
    stage = lambda steps, rate, trainable: ml_collections.ConfigDict(
        {"num_steps": steps, "learning_rate": rate, "warmup": 0.1, "trainable": trainable}
    )
    config.stages = ml_collections.ConfigDict(
        {
            "predecessor": stage(700, 1e-4, "all"),
            "direct": stage(700, 1e-4, "all"),
            "replacing": stage(500, 1e-4, "layers"),
            "successor": stage(200, 5e-5, "layers"),
            "distill": stage(0, 1e-4, "all"),  # steps: those of replacing and successor
        }
    )
    config.batch_size = 32
    config.weight_decay = 0.0
    # Arguments of jaxlab.train.make_train_step.
    config.step = ml_collections.ConfigDict({"clip_norm": 1.0, "accumulate": 1})

    config.eval_batch_size = 64
    config.log_every = 20
    config.eval_every = 250
    config.checkpoint_every = 250
    config.keep_checkpoints = False
    config.latency_repeats = 20

    if preset in ("6to3", "6to2"):
        config.depths = (int(preset[-1]),)
    elif preset == "few":
        config.limits.update(train=1000)
        for name, steps in {"predecessor": 300, "direct": 300, "replacing": 250}.items():
            config.update({"stages": {name: {"num_steps": steps}}})
        config.update({"stages": {"successor": {"num_steps": 100}}})
    elif preset == "tiny":
        config.fast_compile = True
        config.seeds = (0,)
        config.depths = (1,)
        config.limits.update(train=400, validation=50, test=100)
        config.buckets = (32,)
        config.pretrained = ""
        config.model.update(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32)
        config.model.update(max_positions=32)
        config.vocab_size = 300
        for name in ("predecessor", "direct", "replacing", "successor"):
            config.update({"stages": {name: {"num_steps": 6}}})
        config.batch_size = 16
        config.log_every = config.eval_every = config.checkpoint_every = 3
        config.keep_checkpoints = True
        config.latency_repeats = 2
    elif preset:
        raise ValueError(f"preset is {preset!r}, known are '6to3', '6to2', 'few' and 'tiny'")
    return config
