"""Long tails: logit adjustment and what it is compared with.

    python scripts/compare.py --config=configs/studies/long_tail.py:ir100 --workdir=runs/lt100

Presets: `ir10`, `ir50`, `ir100` (Fashion-MNIST with an exponential tail, MLP), `cifar100`
(`cifar10_jpeg` at ratio 100, ResNet), `shuttle` (a natural tail, 45,586 to 10), `tiny`.
One CPU core: 6 to 10 minutes each, `cifar100` 15. Five seeds; a seed draws its own examples.

Every loss has four candidates (`cifar100`: two) and is chosen on a balanced validation set (of
`shuttle`: a stratified one) that no model was trained on. Post-hoc methods read the cross-entropy
runs.
"""

import ml_collections

TAUS = tuple(0.25 * i for i in range(13))


def get_config(preset: str = "ir100") -> ml_collections.ConfigDict:
    """Presets: "ir10", "ir50", "ir100", "cifar100", "shuttle", "tiny"."""
    rates = (0.02, 0.05, 0.1, 0.2)
    base = {
        # Arguments of jaxlab.data.load_classification.
        "data": {"name": "fashion_mnist", "largest": 2000, "num_validation": 2000},
        # Of jaxlab.models.classifiers.make_classifier.
        "model": {"kind": "mlp", "features": (128, 128)},
        # Of jaxlab.tasks.classification.make_loss and jaxlab.optim.make_optimizer.
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "momentum", "l2": 1e-4, "learning_rate": 0.1},
        "num_steps": 3000,
        "batch_size": 64,
        "eval_every": 500,
    }
    seeds = (5, 6, 7, 8, 9)  # 0 to 4 served while the candidates were being decided on
    mode = "vmap"
    taus = TAUS
    if preset in ("ir10", "ir50", "ir100"):
        base["data"]["imbalance"] = float(preset[2:])
    elif preset == "cifar100":
        base["data"] |= {"name": "cifar10_jpeg", "imbalance": 100.0, "num_test": 5000}
        base["model"] = {"kind": "resnet", "widths": (8, 16, 32), "stem_stride": 2}
        base |= {"num_steps": 800, "eval_every": 800}
        rates = (0.1, 0.2)
        mode = "map"  # convolutions fill two cores with one seed
    elif preset == "shuttle":
        base["data"] = {"name": "shuttle"}
        base["model"] = {"kind": "mlp", "features": (64, 64)}
    elif preset == "tiny":
        base["data"] |= {"imbalance": 10.0, "largest": 40, "num_validation": 20, "num_test": 50}
        base["data"]["name"] = "mnist5k"
        base["model"]["features"] = (8,)
        base |= {"num_steps": 6, "batch_size": 8, "eval_every": 3}
        seeds, taus, rates = (0, 1), (0.0, 1.0), (0.1,)
    else:
        raise ValueError(
            f"preset is {preset!r}, known are ir10, ir50, ir100, cifar100, shuttle, tiny"
        )

    def arm(objective, head="linear", **numbers):
        """As many candidates for each: rates, or half of them with two values of a number."""
        set_ = {"objective": {"name": objective}}
        if head != "linear":
            set_["model"] = {"head": head}
        own = {name: v for name, v in numbers.items() if isinstance(v, tuple)}
        set_["objective"] |= {name: v for name, v in numbers.items() if name not in own}
        few = rates[::2] if own else rates
        return {"set": set_, "grid": {"optimizer": {"learning_rate": few}, "objective": own}}

    plain = arm("cross_entropy")
    arms = {
        "cross-entropy": plain,
        "post-hoc, tau 1": {**plain, "read": ("posthoc_1",)},
        "tau-normalised, best tau": {
            **plain,
            "read": tuple(f"normalized_{tau:g}" for tau in taus),
        },
        "post-hoc, best tau": {**plain, "read": tuple(f"posthoc_{tau:g}" for tau in taus)},
        "logit-adjusted, tau 1": arm("logit_adjusted", tau=1.0),
        "inverse weights": arm("inverse_weights"),
        "class-balanced": arm("class_balanced", beta=(0.99, 0.999)),
        "focal": arm("focal", gamma=(1.0, 2.0)),
        "LDAM": arm("ldam", head="cosine", max_margin=(0.3, 0.5)),
        "equalised": arm("equalized", tau=1.0),
    }
    lines = {
        "post-hoc on cross-entropy": {"arm": "cross-entropy", "figure": "test/posthoc_*"},
        "tau-normalised": {"arm": "cross-entropy", "figure": "test/normalized_*"},
    }
    if preset == "tiny":
        arms = {name: arms[name] for name in ("cross-entropy", "post-hoc, tau 1", "LDAM")}
    elif preset == "ir100":
        arms["logit-adjusted, best tau"] = {
            "set": {"objective": {"name": "logit_adjusted"}},
            "grid": {
                "optimizer": {"learning_rate": (0.1,)},
                "objective": {"tau": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)},
            },
        }
        lines["logit-adjusted loss"] = {
            "arm": "logit-adjusted, best tau",
            "figure": "test/balanced_error",
        }

    return ml_collections.ConfigDict(
        {
            "fast_compile": preset == "tiny",
            "seeds": seeds,
            "seeds_in_program": mode,
            "base": base,
            "arms": arms,
            "order": tuple(arms),
            "report": {"taus": taus},
            "baseline": "cross-entropy",
            "select": "balanced_error",
            "read": "balanced_error",
            "average_last": 1,
            "columns": ("test/head_error", "test/tail_error", "test/error"),
            "curves": {"figures": ("test/balanced_error",)},
            "sweeps": (
                {"name": "tau", "number": "tau", "ylabel": "test balanced error", "lines": lines},
            ),
        }
    )
