"""Flooding: does a loss that is kept from zero generalise better, and than what?

    python scripts/compare.py --config=configs/studies/flooding.py:noise40-sgd --workdir=runs/flood

Presets: `sinusoid` (the authors' task, 100 points, 10 % wrong labels, MLP with batch norm), and
`noise0`, `noise20`, `noise40`
(1,000 Fashion-MNIST images with that share of wrong labels), each with
`-sgd`, `-momentum` or `-adam`; `tiny`. One CPU core: 5 to 10 minutes each. Five seeds.

Validation labels are as wrong as those of training, as in practice; the test labels of
Fashion-MNIST are right. Every method has four candidates; figures are means of the last three
evaluations, since the last iterate is noisy. Early stopping takes the evaluation with the best
validation error.
"""

import ml_collections


def get_config(preset: str = "noise40-sgd") -> ml_collections.ConfigDict:
    """Presets: "sinusoid", "noise{0,20,40}-{sgd,momentum,adam}", "tiny"."""
    rates = {"sgd": 0.1, "momentum": 0.05, "adam": 1e-3}
    levels = {
        "sinusoid": (0.15, 0.2, 0.25, 0.3),  # the noise's own cross-entropy is 0.325
        "noise0": (0.02, 0.05, 0.1, 0.2),
        "noise20": (0.4, 0.6, 0.8, 1.0),  # 0.940
        "noise40": (0.8, 1.1, 1.3, 1.5),  # 1.552
    }
    task, _, optimizer = preset.partition("-")
    optimizer = optimizer or "momentum"
    tiny = preset == "tiny"
    if tiny:
        task = "sinusoid"
    if task not in levels or optimizer not in rates:
        raise ValueError(
            f"preset is {preset!r}, known are sinusoid, tiny, noise0, noise20 and noise40 with "
            "-sgd, -momentum or -adam"
        )
    base = {
        # Arguments of jaxlab.data.load_classification.
        "data": {
            "name": "fashion_mnist",
            "num_train": 1000,
            "num_validation": 1000,
            "num_test": 5000,
            "noise": int(task[5:] or 0) / 100 if task != "sinusoid" else 0.1,
        },
        # Of jaxlab.models.classifiers.make_classifier.
        "model": {"kind": "mlp", "features": (128, 128)},
        # Of jaxlab.tasks.classification.make_loss and jaxlab.optim.make_optimizer.
        "objective": {"name": "cross_entropy"},
        "optimizer": {
            "name": optimizer,
            "learning_rate": rates[optimizer],
            "schedule": "constant",
        },
        # Of held_out_losses (without gamma), for the levels of AdaFlood.
        "adaptive": {"folds": 2, "num_steps": 300, "gamma": 0.5},
        "num_steps": 4000,
        "batch_size": 64,
        "eval_every": 200,
    }
    if optimizer == "momentum":  # memorises twice as fast
        base |= {"num_steps": 2000, "eval_every": 100}
    if task == "sinusoid":
        base["data"] = {"name": "sinusoid", "num_train": 100, "num_validation": 100, "noise": 0.1}
        base["data"] |= {"num_test": 5000}
        base["model"] = {"kind": "mlp", "features": (100,) * 4, "norm": "batch"}
        base["optimizer"]["learning_rate"] = 0.01
        base |= {"num_steps": 1500, "batch_size": 100, "eval_every": 50}
        base["adaptive"]["num_steps"] = 50
    if tiny:
        base["data"] |= {"num_train": 20, "num_validation": 20, "num_test": 50}
        base["model"]["features"] = (8,)
        base |= {"num_steps": 6, "batch_size": 10, "eval_every": 2}
        base["adaptive"]["num_steps"] = 2
    rate = base["optimizer"]["learning_rate"]

    def flood(kind):
        return {
            "set": {"objective": {"flooding": kind}},
            "grid": {"objective": {"level": levels[task]}},
        }

    def optimizer_grid(name, *values):
        return {"grid": {"optimizer": {name: values}}}

    # On the images stronger ones diverge.
    strengths = (3e-2, 1e-1, 3e-1, 1.0) if task == "sinusoid" else (3e-3, 1e-2, 3e-2, 1e-1)
    rates_tried = (rate / 4, rate / 2, rate, rate * 2)
    arms = {
        "none": optimizer_grid("learning_rate", *rates_tried),
        "flooding": flood("batch"),
        "iFlood": flood("example"),
        "AdaFlood": {
            "set": {"objective": {"flooding": "adaptive"}},
            "grid": {"adaptive": {"gamma": (0.1, 0.25, 0.5, 0.75)}},
        },
        "early stopping": {**optimizer_grid("learning_rate", *rates_tried), "stop": "best"},
        "flooding + early stopping": {**flood("batch"), "stop": "best"},
        "weight decay": optimizer_grid("weight_decay", *strengths),
        "label smoothing": {"grid": {"objective": {"label_smoothing": (0.1, 0.2, 0.4, 0.6)}}},
        "gradient penalty": {"grid": {"objective": {"gradient_penalty": strengths}}},
        "SAM": optimizer_grid("sharpness", 0.1, 0.2, 0.5, 1.0),
    }
    if optimizer == "adam":
        # Decoupled decay is rate * strength a step: a hundredth of the rate needs more of it.
        arms["weight decay"] = optimizer_grid("weight_decay", 0.1, 0.3, 1.0, 3.0)
    if tiny:
        arms = {name: arms[name] for name in ("none", "flooding", "AdaFlood", "SAM")}
        for arm in arms.values():
            arm["grid"] = {s: {k: v[:1] for k, v in g.items()} for s, g in arm["grid"].items()}
    shown = ("none", "flooding", "iFlood", "AdaFlood", "SAM")
    return ml_collections.ConfigDict(
        {
            "fast_compile": tiny,
            # 0 to 4 served while the candidates were being decided on.
            "seeds": (0, 1) if tiny else (5, 6, 7, 8, 9),
            "seeds_in_program": "vmap",
            "base": base,
            "arms": arms,
            "order": tuple(arms),
            "baseline": "none",
            "select": "error",
            "read": "error",
            "average_last": 3,
            "columns": ("test/cross_entropy", "train/error", "train/flooded"),
            "curves": {
                "figures": ("test/cross_entropy", "test/error", "train/objective", "train/flooded"),
                "arms": tuple(name for name in shown if name in arms),
            },
            "sweeps": (
                {
                    "name": "level",
                    "number": "level",
                    "ylabel": "test error",
                    "lines": {
                        name: {"arm": name, "figure": "test/error"}
                        for name in ("flooding", "iFlood")
                        if name in arms
                    },
                },
            ),
        }
    )
