"""Long tails: logit adjustment and what it is compared with.

    python scripts/compare.py --config=configs/studies/long_tail.py:ir100 --workdir=runs/lt100

Presets: `ir10`, `ir50`, `ir100` (Fashion-MNIST with an exponential tail, MLP), `cifar100`
(`cifar10_jpeg` at ratio 100, ResNet), `shuttle` (a natural tail, 45,586 to 10), `tiny`. One CPU
core: 6 to 10 minutes each, `cifar100` 15. Five seeds; a seed draws its own examples. `cifar10_lt`
and `cifar100_lt` are the paper's setting, for an accelerator: ResNet-32, 200 epochs, one rate; its
numbers and what differs stand in `configs/classifier/cifar_long_tail.py`. The best tau is chosen on
100 images there, which is few.

Every loss has four candidates (`cifar100`: two) and is chosen on a balanced validation set (of
`shuttle`: a stratified one) that no model was trained on. Post-hoc methods read the cross-entropy
runs.
"""

from configs.studies import base
from jaxlab import launch

RECIPE = {
    "base.data.name": "fashion_mnist",
    "base.data.largest": 2000,
    "base.data.num_validation": 2000,
    "base.model.kind": "mlp",
    "base.model.features": (128, 128),
    "base.objective.name": "cross_entropy",
    "base.optimizer.name": "momentum",
    "base.optimizer.l2": 1e-4,
    "base.optimizer.learning_rate": 0.1,
    "base.num_steps": 3000,
    "base.batch_size": 64,
    "base.eval_every": 500,
    "report.taus": tuple(0.25 * i for i in range(13)),
    "baseline": "cross-entropy",
    "select": "balanced_error",
    "read": "balanced_error",
    "columns": ("test/head_error", "test/tail_error", "test/error"),
    "curves.figures": ("test/balanced_error",),
}
CIFAR = {
    "base.data.name": "cifar10_jpeg",
    "base.data.imbalance": 100.0,
    "base.data.num_test": 5000,
    "base.model.kind": "resnet",
    "base.model.features": None,
    "base.model.widths": (8, 16, 32),
    "base.model.stem_stride": 2,
    "base.num_steps": 800,
    "base.eval_every": 800,
    "seeds_in_program": "map",  # convolutions fill two cores with one seed
}
PAPER = {  # ResNet-32 on CIFAR-10-LT, see configs/classifier/cifar_long_tail.py
    "base.data.name": "cifar10",
    "base.data.imbalance": 100.0,
    "base.data.largest": None,
    "base.data.num_validation": 100,
    "base.model.kind": "resnet",
    "base.model.features": None,
    "base.model.blocks": 5,
    "base.model.shortcut": "padding",
    "base.objective.flip": True,
    "base.objective.shift": 4,
    "base.optimizer.schedule": "step",
    "base.optimizer.drop_at": (0.8, 0.9),
    "base.optimizer.warmup_steps": 485,
    "base.num_steps": 19_400,
    "base.batch_size": 128,
    "base.eval_every": 970,
    "seeds_in_program": "map",
}
PAPER_100 = PAPER | {
    "base.data.name": "cifar100",
    "base.optimizer.warmup_steps": 425,
    "base.num_steps": 17_000,
    "base.eval_every": 850,
}
SHUTTLE = {
    "base.data.name": "shuttle",
    "base.data.largest": None,
    "base.data.num_validation": None,
    "base.model.features": (64, 64),
}
TINY = base.TINY | {
    "base.data.name": "mnist5k",
    "base.data.imbalance": 10.0,
    "base.data.largest": 40,
    "base.data.num_validation": 20,
    "base.data.num_test": 50,
    "base.num_steps": 6,
    "base.batch_size": 8,
    "base.eval_every": 3,
    **dict.fromkeys(("base.optimizer.schedule", "base.optimizer.drop_at")),
    "base.optimizer.warmup_steps": None,
    "base.model.blocks": None,
    "report.taus": (0.0, 1.0),
}
PRESETS = {
    **{f"ir{ratio}": {"base.data.imbalance": float(ratio)} for ratio in (10, 50, 100)},
    "cifar100": CIFAR,
    "cifar10_lt": PAPER,
    "cifar100_lt": PAPER_100,
    "shuttle": SHUTTLE,
    "bf16": base.BF16,
    "tiny": TINY,
}


def get_config(preset: str = "ir100"):
    """Presets: "ir10", "ir50", "ir100", "cifar100", "shuttle", "cifar10_lt", "cifar100_lt"; "bf16",
    "tiny", with another too."""
    names = launch.chosen(preset, PRESETS)
    names += [] if {*names} - {"bf16"} else ["ir100"]
    config = base.recipe(RECIPE, PRESETS, ",".join(names))
    rates = (0.1, 0.2) if "cifar100" in names else (0.02, 0.05, 0.1, 0.2)
    rates = (0.1,) if {"tiny", "cifar10_lt", "cifar100_lt"} & {*names} else rates
    taus = config.report.taus

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
    if "ir100" in names:
        best = "logit-adjusted, best tau"
        arms[best] = {
            "set": {"objective": {"name": "logit_adjusted"}},
            "grid": {
                "optimizer": {"learning_rate": (0.1,)},
                "objective": {"tau": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)},
            },
        }
        lines["logit-adjusted loss"] = {"arm": best, "figure": "test/balanced_error"}
    sweep = {"name": "tau", "number": "tau", "ylabel": "test balanced error", "lines": lines}
    tiny_arms = ("cross-entropy", "post-hoc, tau 1", "LDAM")
    return base.finish(config, arms, tiny_arms=tiny_arms, tiny_values=2, sweeps=(sweep,))
