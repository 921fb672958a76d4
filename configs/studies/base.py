"""What the studies of classifiers share: every key of the functions that the sections feed.

base.data       jaxlab.data.load_classification
base.model      jaxlab.models.classifiers.make_classifier, and `gains` of an MLP's layers
base.objective  jaxlab.tasks.classification.make_loss
base.optimizer  jaxlab.optim.make_optimizer, with `path`, the path norm of an MLP
base.adaptive   jaxlab.tasks.classification.held_out_losses, and gamma of AdaFlood's levels
report          jaxlab.tasks.classification.make_program

None stands for the function's own default there, and is no part of what names a candidate: a
record stays that of its candidate when the functions get more keywords.
"""

from jaxlab import launch
from jaxlab.tasks.classification.settings import SECTIONS, STUDY_KEYWORDS

BASE = {
    "fast_compile": False,
    "seeds": (5, 6, 7, 8, 9),  # 0 to 4 served while the candidates were being decided on
    "seeds_in_program": "vmap",
    "base": {
        **{name: dict.fromkeys(STUDY_KEYWORDS[name]) for name in SECTIONS},
        **dict.fromkeys(("num_steps", "batch_size", "eval_every"), 0),
    },
    "arms": {},
    "order": (),
    "report": dict.fromkeys(STUDY_KEYWORDS["report"]),
    "baseline": "none",
    "select": "error",
    "read": "error",
    "average_last": 1,
    "columns": (),
    "curves": {"figures": (), "arms": None},  # None: all of them
    "tradeoff": {"x": None, "y": None, "arms": None},
    "layer_curves": None,
    "sweeps": (),
}

TINY = {"fast_compile": True, "seeds": (0, 1)}
BF16 = {"base.model.dtype": "bfloat16"}


def recipe(changes, presets, preset):
    """A config of `BASE` and `changes`, still without arms; presets in the order of their table."""
    names = [name for name in presets if name in launch.chosen(preset, presets)]
    config = launch.recipe(BASE, changes, presets=presets, preset=",".join(names))
    if "tiny" in names:
        size = {"features": (8,)} if config.base.model.kind == "mlp" else {"widths": (4,)}
        config.base.model.update(size)
    return config


def finish(config, arms, *, tiny_arms, tiny_values=1, **pictures):
    """Adds arms and pictures; a tiny study has a few arms, and fewer values of each grid."""
    if config.fast_compile:
        arms = {name: arms[name] for name in tiny_arms if name in arms}
        for arm in arms.values():
            arm["grid"] = {
                s: {k: v[:tiny_values] for k, v in g.items()} for s, g in arm["grid"].items()
            }
    for sweep in pictures.get("sweeps", ()):
        sweep["lines"] = {k: line for k, line in sweep["lines"].items() if line["arm"] in arms}
    config.arms, config.order = arms, tuple(arms)
    config.update(pictures)
    pictures = ((config.curves, "arms"), (config.tradeoff, "arms"), (config, "layer_curves"))
    for section, key in pictures:
        if section[key] is not None:
            section[key] = tuple(name for name in section[key] if name in arms)
    return config


def grid(section, name, *values):
    """An arm whose candidates have these values of a number."""
    return {"grid": {section: {name: values}}}
