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
  be set beside them.

Endings: `-6to3`, `-6to2` for one depth, `-few` for 1,000 training texts, `-tiny` for seconds, from
scratch. A run of 3 seeds and 2 depths trains 51 stages of 100 to 400 steps; a seed of `headlines`
takes 37 minutes of one CPU core.
"""

import ml_collections

from jaxlab import launch, losses, optim, train

SETS = {
    "headlines": {"buckets": (16, 24, 32), "validation": 1000},
    "rotten_tomatoes": {"buckets": (24, 32), "validation": 0},
    "iflytek": {"buckets": (32,), "validation": 0},
}
ENDINGS = ("", "6to3", "6to2", "few", "tiny")


def get_config(preset: str = "headlines") -> ml_collections.ConfigDict:
    """Presets: a set, or SET-ENDING."""
    name, _, ending = preset.partition("-")
    if name not in SETS or ending not in ENDINGS:
        raise ValueError(
            f"preset is {preset!r}, known are {', '.join(SETS)}, alone or with one of "
            f"{', '.join(f'-{e}' for e in ENDINGS if e)}"
        )
    scratch = name == "iflytek"
    config = ml_collections.ConfigDict()
    config.seeds = (0, 1, 2)
    config.depths = (2,) if scratch else (3, 2)
    config.arms = ("direct", "distill", "truncated", "constant", "curriculum")

    # Arguments of jaxlab.data.text.load_text; 0 takes all of a split.
    config.data = ml_collections.ConfigDict({"name": name, "split_seed": 0})
    config.limits = ml_collections.ConfigDict(
        {"train": 0, "validation": SETS[name]["validation"], "test": 0}
    )
    config.buckets = SETS[name]["buckets"]
    config.truncate = True

    # Folder in the data folder, and attributes of jaxlab.models.bert.Bert that differ from it.
    # Without a pretrained folder: all attributes, and the size of a vocabulary to train.
    config.pretrained = "" if scratch else "minilm"
    config.model = ml_collections.ConfigDict({"dropout": 0.1, "attention_dropout": 0.1})
    if scratch:
        config.model.update(hidden_size=128, num_layers=4, num_heads=4, intermediate_size=512)
        config.model.update(max_positions=32)
    config.vocab_size = 4000
    # "pooler" and "cls" work in transformers too; the figures of the pages are of "mean".
    config.head = ml_collections.ConfigDict({"pooling": "mean", "dropout": 0.1})

    # Where the successor starts: layers "first", "spread" or "last", of the "predecessor" (the
    # authors' code) or the "pretrained" model (the paper). Embeddings shared and frozen (the
    # paper), or a module of their own (Su).
    config.layers = "first"
    config.init_from = "predecessor"
    config.own_embeddings = False

    config.constant_rate = 0.5
    config.curriculum = ml_collections.ConfigDict({"base": 0.3, "reach": 0.7})
    # Arguments of jaxlab.tasks.compression.make_distillation_loss.
    config.distillation = ml_collections.ConfigDict({"temperature": 2.0, "soft": 0.5})

    # trainable: "all", "layers" (embeddings and head frozen, as in the authors' code), or
    # "layers+head". The truncated control's first stage has the settings of "replacing"; both train
    # the layers, and embeddings of their own, whatever is said here.
    stage = lambda steps, rate, trainable: ml_collections.ConfigDict(
        {"num_steps": steps, "learning_rate": rate, "warmup": 0.1, "trainable": trainable}
    )
    rate, low = (5e-4, 2e-4) if scratch else (1e-4, 5e-5)
    config.stages = ml_collections.ConfigDict(
        {
            "predecessor": stage(700 if scratch else 400, rate, "all"),
            "direct": stage(700 if scratch else 400, rate, "all"),
            "replacing": stage(500 if scratch else 300, rate, "layers"),
            "successor": stage(200 if scratch else 100, low, "layers"),
            "distill": stage(0, rate, "all"),  # steps: those of replacing and successor
        }
    )
    config.batch_size = 32
    # Arguments of jaxlab.train.make_labelled_loss, such as name "logit_adjusted" with tau 1.
    config.objective = ml_collections.ConfigDict(
        launch.defaults(
            train.make_labelled_loss,
            rows=losses.OBJECTIVES.values(),
            but=("make_loss", "class_counts", "plain"),
        )
    )
    # Of jaxlab.optim.make_optimizer; rates and warm-up are those of the stages. Decay is of kernels
    # and embeddings; biases and scales of layer norms are left alone, as in BERT.
    config.optimizer = ml_collections.ConfigDict(
        launch.defaults(optim.make_optimizer, rows=optim.rows(), but=launch.OF_STAGES)
        | {"name": "adamw", "schedule": "linear", "weight_decay": 0.0}
    )
    # Arguments of jaxlab.train.make_train_step.
    config.step = ml_collections.ConfigDict({"clip_norm": 1.0, "accumulate": 1})

    config.eval_batch_size = 64
    config.log_every = 20
    config.eval_every = 250
    config.checkpoint_every = 250
    config.keep_checkpoints = False
    config.latency_repeats = 20

    if ending in ("6to3", "6to2"):
        config.depths = (int(ending[-1]),)
    elif ending == "few":
        config.limits.update(train=1000)
        for kind, steps in {"predecessor": 300, "direct": 300, "replacing": 250}.items():
            config.update({"stages": {kind: {"num_steps": steps}}})
        config.update({"stages": {"successor": {"num_steps": 100}}})
    elif ending == "tiny":
        config.fast_compile = True
        config.seeds = (0,)
        config.depths = (1,)
        config.limits.update(train=400, validation=50, test=100)
        config.buckets = (32,)
        config.pretrained = ""
        config.model.update(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32)
        config.model.update(max_positions=32)
        config.vocab_size = 300
        for kind in ("predecessor", "direct", "replacing", "successor"):
            config.update({"stages": {kind: {"num_steps": 6}}})
        config.batch_size = 16
        config.log_every = config.eval_every = config.checkpoint_every = 3
        config.keep_checkpoints = True
        config.latency_repeats = 2
    return config
