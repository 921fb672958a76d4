"""What runs of question generation share: every key of the functions that the sections feed.

data        jaxlab.data.questions.sets.load_records
limits      jaxlab.data.questions.segments.Limits: most tokens of each part; passages are cut, other
            parts that are longer left out
model       jaxlab.models.bert.Bert; None stands for the pretrained folder's, or Bert's default
optimizer   jaxlab.optim.make_optimizer; rates and warm-up are those of the stages. Decay is of
            kernels and embeddings; biases and scales of layer norms are left alone, as in BERT
step        jaxlab.train.make_train_step
"""

from jaxlab import launch, optim, train
from jaxlab.data.questions import sets
from jaxlab.tasks import question_generation


def stage(steps, rate, buckets):
    """What a stage has of its own."""
    return {"num_steps": steps, "learning_rate": rate, "warmup": 0.1, "buckets": buckets}


BASE = {
    "fast_compile": False,
    "seed": 0,
    "data": launch.defaults(sets.load_records, but=("data_dir", "skipped")),
    "limits": {"passage": 0, "answer": 0, "question": 0},
    "join": True,  # passages of several sentences, as many as fit; False for one each
    "max_train": 0,  # records to train on, a random subset; 0 for all
    "max_validation": 0,  # records to look at while training
    # "answer_first": passage -> answer -> question. "question_first" with prefix_parts 2 learns
    # passage, question -> answer.
    "order": "answer_first",
    "prefix_parts": 1,
    # Folder in the data folder, of whose vocabulary the most frequent tokens of the training texts
    # are kept. Without one: a model of the section's sizes, and the size of a vocabulary to train.
    "pretrained": "",
    "layers": 0,  # keep the first N, 0 for all
    "vocab_size": 0,
    "model": dict.fromkeys(question_generation.KEYWORDS["model"])
    | {"dropout": 0.1, "attention_dropout": 0.1},
    "frozen": (),  # such as ("bert/embeddings/word",), which is the output layer too
    # The first stage learns masked tokens, which a body without a head needs; 0 steps leave it out.
    "stages": {"mlm": stage(0, 2e-4, ()), "seq2seq": stage(0, 2e-4, ())},
    "mask_rate": 0.15,
    "replace": 0.0,  # share of target tokens seen as random ones, against exposure bias
    "batch_size": 32,
    "optimizer": launch.defaults(optim.make_optimizer, rows=optim.rows(), but=launch.OF_STAGES)
    | {"name": "adamw", "schedule": "linear", "weight_decay": 0.01},
    "step": launch.defaults(train.make_train_step, but=("loss_fn", "tx", "mesh"))
    | {"clip_norm": 1.0},
    "eval_batch_size": 32,
    "log_every": 20,
    "checkpoint_every": 250,  # and evaluate
}

TINY = {  # seconds, from scratch
    "fast_compile": True,
    "max_validation": 40,
    "limits.passage": 40,
    "pretrained": "",
    "model.hidden_size": 16,
    "model.num_layers": 1,
    "model.num_heads": 2,
    "model.intermediate_size": 32,
    "model.max_positions": 96,
    "stages.mlm.num_steps": 4,
    "stages.mlm.buckets": (42,),
    "stages.seq2seq.num_steps": 6,
    "eval_batch_size": 16,
    "log_every": 1,
    "checkpoint_every": 3,
}


def recipe(changes, tiny, preset=""):
    """A config of `BASE` and `changes`; `tiny` is what that preset has of its own."""
    presets = {"tiny": TINY | tiny, "bf16": {"model.dtype": "bfloat16"}}
    return launch.recipe(BASE, changes, presets=presets, preset=preset)
