"""BERT-of-Theseus on GLUE: BERT-base from 12 layers to 6 and to 3.

    python scripts/fetch_data.py google-bert/bert-base-uncased
    python scripts/compress_bert.py --config=configs/theseus/glue.py:mrpc --workdir=runs/mrpc
    python scripts/plan.py --script=compress_bert --config=configs/theseus/glue.py:sst2 \
        --topology=v5e:2x2

Published (Xu et al., 2020, median of five runs on the development sets, %; by GLUE's custom, not
looked up there, Matthews for CoLA, the mean of Pearson and Spearman for STS-B and of accuracy and
F1 for MRPC and QQP, else accuracy):

                         CoLA  MNLI  MRPC  QNLI   QQP   RTE  SST-2  STS-B   mean
    BERT-base, 12 layers 54.3  83.5  89.5  91.2  89.8  71.1   91.5   88.9   82.5
    first 6, fine-tuned  43.4  80.1  86.0  86.9  87.8  62.1   89.6   81.9   77.2
    Theseus, 6 layers    51.1  82.3  89.0  89.5  89.6  68.2   91.5   88.7   81.2
    Theseus, 3 layers                                                       74.1

The authors used one V100: 20 hours for MNLI, less than 30 minutes for MRPC. 109 million parameters;
four epochs for the predecessor, rate 2e-5, batch 32, lengths to 128 (QNLI 256), Adam without decay,
no warm-up, clipped at 1; then the curriculum, which starts at a rate of 0.3 and is 1 after 1,000
steps (small tasks), 5,000 (SST-2, QNLI) or 30,000 (QQP, MNLI), all numbers of which are in the
paper's grid; 15 epochs in all for small tasks (the example of the authors' README), 5 for the
others, which the paper does not say. Like theirs, each stage ends with its best evaluation
(`keep_best`), on the texts that are reported. `init_from` and what is trained are as in the
authors' code.

A step of 32 x 128 tokens is 2.1 TFLOP for the predecessor and 1.4 when replacing, its state 1.2
GiB: one TPU chip is enough, with 0.2 hours a seed of SST-2 at a quarter of a v5e's peak (counted
from the traced step; the TPU compiler was not run to its end).

Presets: "mrpc", "rte", "cola", "stsb", "sst2", "qnli", "qqp", "mnli"; "12to3" and "12to6" for one
depth; "bf16"; "tiny" for seconds, from scratch. "weissi" fine-tunes 12 layers and the first 6 with
WEISSI on attention's pairs, queries with keys and values with outputs, whose products alone matter
(https://kexue.fm/archives/7681; nothing published, the strength is of ours), "adamw" with decay.
Learning rates, and the base of the curriculum, are chosen by hand among 1e-5 and 2e-5, 0.1 and 0.3:
`--config.curriculum.base=0.1`.
"""

from configs.theseus import base

# Task: training examples, epochs of the replacing stage, steps until its rate is 1, longest text.
TASKS = {
    "mrpc": (3_668, 15, 1_000, 128),
    "rte": (2_490, 15, 1_000, 128),
    "cola": (8_551, 15, 1_000, 128),
    "stsb": (5_749, 15, 1_000, 128),
    "sst2": (67_349, 5, 5_000, 128),
    "qnli": (104_743, 5, 5_000, 256),
    "qqp": (363_846, 5, 30_000, 128),
    "mnli": (392_702, 5, 30_000, 128),
}
STAGES = base.BASE["stages"]
RECIPE = {
    "seeds": (0, 1, 2, 3, 4),
    "depths": (6, 3),
    "arms": ("direct", "truncated", "curriculum"),
    "pretrained": "bert-base-uncased",
    "head.pooling": "pooler",
    "curriculum.base": 0.3,
    "batch_size": 32,
    "keep_best": True,
    "optimizer.weight_decay": 0.0,
    **{f"stages.{kind}.learning_rate": 2e-5 for kind in STAGES},
    **{f"stages.{kind}.warmup": 0.0 for kind in STAGES},
    "stages.successor.num_steps": 0,  # the curriculum ends in it
    "log_every": 50,
    "eval_every": 500,
    "checkpoint_every": 500,
}


def task(name):
    """What a task has of its own."""
    examples, epochs, reach, longest = TASKS[name]
    epoch = -(-examples // 32)
    return {
        "data.name": f"glue/{name}",
        "buckets": tuple(length for length in (32, 64, 128, 256) if length <= longest),
        "stages.predecessor.num_steps": 4 * epoch,
        "stages.direct.num_steps": 4 * epoch,
        "stages.replacing.num_steps": epochs * epoch,
        "curriculum.reach": reach / (epochs * epoch),
    }


PRESETS = {
    **{name: task(name) for name in TASKS},
    "12to6": {"depths": (6,)},
    "12to3": {"depths": (3,)},
    "bf16": {"model.dtype": "bfloat16"},
    "weissi": {
        "arms": ("direct",),
        "depths": (6,),
        "optimizer.name": "adamw_weissi",
        "optimizer.log_norm": 10.0,
        "optimizer.min_norm": 1.0,
        "optimizer.weight_decay": None,
        "optimizer.weissi_mask": "query_key+value_output",
    },
    "adamw": {"arms": ("direct",), "depths": (6,), "optimizer.weight_decay": 0.01},
    "tiny": base.TINY,
}


def get_config(preset: str = "mrpc"):
    """Presets: "mrpc", "rte", "cola", "stsb", "sst2", "qnli", "qqp", "mnli"; "12to6", "12to3",
    "bf16", "weissi", "adamw", "tiny"; MRPC where no task is named."""
    return base.recipe(RECIPE | task("mrpc"), PRESETS, preset)
