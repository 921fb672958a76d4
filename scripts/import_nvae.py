"""Makes a run folder of weights that were trained with the published NVAE code.

    python scripts/import_nvae.py --checkpoint=checkpoint.pt --workdir=runs/imported
    python scripts/import_nvae.py --checkpoint=FILE.npz --workdir=runs/imported

sample_nvae.py, evaluate_nvae.py and encode_nvae.py then read it, and training goes on from it with
`train_nvae.py --config=runs/imported/config.json --init_from=runs/imported`. A .pt file needs
torch; an .npz file holds the flags as JSON text "config" and the weights as "state/NAME".
"""

from absl import flags, logging

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.launch import config as configs
from jaxlab.models.nvae import load_reference, parameter_count, parity, read_checkpoint
from jaxlab.tasks import images

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The weights: a .pt or an .npz file.")
RECIPE = flags.DEFINE_string(
    "recipe", None, "Config whose data, loss and optimizer the run takes; default by data set."
)
RECIPES = {  # by what the reference calls the data set
    "celeba_64": "celeba64",
    "celeba_256": "celebahq256",
    "cifar10": "cifar10",
    "ffhq": "ffhq256",
    "imagenet_32": "imagenet32",
    "mnist": "mnist",
}


def main(config, workdir):
    del config
    if not CHECKPOINT.value:
        raise InputError("--checkpoint=FILE is required: a .pt or an .npz file")
    images.check_is_new(workdir)
    if CHECKPOINT.value.endswith(".npz"):
        arrays, values = parity.weights(parity.read(CHECKPOINT.value))
    else:
        arrays, values = read_checkpoint(CHECKPOINT.value)
    model, variables = load_reference(arrays, values)
    known = RECIPES.get(values.get("dataset", "mnist"))
    recipe = configs.load(RECIPE.value or f"configs/nvae/{known or 'mnist'}.py").to_dict()
    images.import_model(
        recipe,
        model,
        variables,
        workdir,
        other_data=not (known or RECIPE.value),
        data_dir=launch.options().data_dir,
    )
    logging.info(
        "%s parameters in %d groups written to %s",
        f"{parameter_count(variables['params']):,}",
        model.num_groups,
        workdir,
    )


if __name__ == "__main__":
    launch.run(main, reads=("data_dir",))
