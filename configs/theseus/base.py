"""What studies of compression share: every key of the functions that the sections feed.

data          jaxlab.data.text.load_text
model         jaxlab.models.bert.Bert; None stands for the pretrained folder's, or Bert's default
head          jaxlab.models.bert.SequenceClassifier
distillation  jaxlab.tasks.compression.make_distillation_loss
objective     jaxlab.train.make_labelled_loss, such as name "logit_adjusted" with tau 1
optimizer     jaxlab.optim.make_optimizer; rates and warm-up are those of the stages. Decay is of
              kernels and embeddings; biases and scales of layer norms are left alone, as in BERT
step          jaxlab.train.make_train_step
"""

from jaxlab import launch, losses, optim, train
from jaxlab.data.text import load_text
from jaxlab.models import bert
from jaxlab.tasks import compression

OF_DATA = ("num_labels", "label_names", "problem_type")  # what a head takes from them


def stage(steps, rate, trainable):
    """What a stage has of its own.

    trainable: "all", "layers" (embeddings and head frozen, as in the authors' code), or
    "layers+head". The truncated control's first stage has the settings of "replacing"; both train
    the layers, and embeddings of their own, whatever is said here.
    """
    return {"num_steps": steps, "learning_rate": rate, "warmup": 0.1, "trainable": trainable}


BASE = {
    "fast_compile": False,
    "seeds": (0, 1, 2),
    "depths": (3, 2),
    "arms": ("direct", "distill", "truncated", "constant", "curriculum"),
    "data": launch.defaults(load_text, but=("data_dir", "split", "limit")),
    "limits": {"train": 0, "validation": 0, "test": 0},  # 0 takes all of a split
    "buckets": (),
    "truncate": True,
    # Folder in the data folder. Without one: a model of the section's sizes, and of a vocabulary
    # of this size, which is trained.
    "pretrained": "minilm",
    "model": dict.fromkeys(compression.KEYWORDS["model"])
    | {"dropout": 0.1, "attention_dropout": 0.1},
    "vocab_size": 4000,
    # "pooler" and "cls" work in transformers too; the figures of the pages are of "mean".
    "head": launch.defaults(bert.SequenceClassifier, but=("name", *OF_DATA)) | {"pooling": "mean"},
    # Where the successor starts: layers "first", "spread" or "last", of the "predecessor" (the
    # authors' code) or the "pretrained" model (the paper). Embeddings shared and frozen (the
    # paper), or a module of their own (Su).
    "layers": "first",
    "init_from": "predecessor",
    "own_embeddings": False,
    "constant_rate": 0.5,
    "curriculum": {"base": 0.3, "reach": 0.7},
    "distillation": {"temperature": 2.0, "soft": 0.5},
    "stages": {
        "predecessor": stage(400, 1e-4, "all"),
        "direct": stage(400, 1e-4, "all"),
        "replacing": stage(300, 1e-4, "layers"),
        "successor": stage(100, 5e-5, "layers"),
        "distill": stage(0, 1e-4, "all"),  # steps: those of replacing and successor
    },
    # Of the task where it is "": accuracy, or F1, Matthews' or Spearman's correlation (text_tasks).
    "metric": "",
    "keep_best": False,  # whether a stage ends with its best checkpoint by it on validation texts
    "batch_size": 32,
    "objective": launch.defaults(
        train.make_labelled_loss,
        rows=losses.OBJECTIVES.values(),
        but=("make_loss", "class_counts", "plain"),
    ),
    "optimizer": launch.defaults(optim.make_optimizer, rows=optim.rows(), but=launch.OF_STAGES)
    | {"name": "adamw", "schedule": "linear", "weight_decay": 0.0},
    "step": launch.defaults(train.make_train_step, but=("loss_fn", "tx", "mesh"))
    | {"clip_norm": 1.0},
    "eval_batch_size": 64,
    "log_every": 20,
    "eval_every": 250,
    "checkpoint_every": 250,
    "keep_checkpoints": False,
    "latency_repeats": 20,
}

TINY = {  # seconds, from scratch
    "fast_compile": True,
    "seeds": (0,),
    "depths": (1,),
    "limits.train": 400,
    "limits.validation": 50,
    "limits.test": 100,
    "buckets": (32,),
    "pretrained": "",
    "model.hidden_size": 16,
    "model.num_layers": 2,
    "model.num_heads": 2,
    "model.intermediate_size": 32,
    "model.max_positions": 32,
    "vocab_size": 300,
    **{f"stages.{kind}.num_steps": 6 for kind in BASE["stages"] if kind != "distill"},
    "batch_size": 16,
    **dict.fromkeys(("log_every", "eval_every", "checkpoint_every"), 3),
    "keep_checkpoints": True,
    "latency_repeats": 2,
}


def recipe(changes, presets, preset=""):
    """A config of `BASE` and `changes`."""
    return launch.recipe(BASE, changes, presets=presets, preset=preset)
