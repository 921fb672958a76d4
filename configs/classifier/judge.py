"""A small ResNet on all training images: it judges samples, see scripts/evaluate_nvae.py.

    python scripts/train_classifier.py --config=configs/classifier/judge.py --workdir=runs/judge

Presets: "mnist" and "fashion_mnist" (the default is mnist5k, the digits of the demo), "tiny"
(seconds). Its features are the 64 means that the last layer sees. docs/methods/nvae.md has the test
errors.
"""

from configs.classifier import base

RECIPE = {
    "num_steps": 1500,
    "data.name": "mnist5k",
    "data.num_validation": 200,
    "model.kind": "resnet",
    "model.widths": (16, 32, 64),
    "model.stem_stride": 2,
    "model.norm": "batch",
    "optimizer.learning_rate": 0.1,
    "optimizer.l2": 1e-4,
}
FULL = {"num_steps": 4000, "data.num_validation": 2000}
MNIST = FULL | {"data.name": "mnist"}
FASHION = FULL | {"data.name": "fashion_mnist"}
TINY = {key: value for key, value in base.TINY.items() if key != "model.features"}
TINY |= {"model.widths": (4, 8)}


def get_config(preset: str = ""):
    """Presets: "mnist", "fashion_mnist", "bf16", "tiny"."""
    presets = {"mnist": MNIST, "fashion_mnist": FASHION, "tiny": TINY}
    return base.recipe(RECIPE, presets, preset)
