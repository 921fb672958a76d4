"""Compares settings of an NVAE over seeds: held-out NELBO and bound, latents in use, skipped steps.

    python scripts/study_nvae.py --config=configs/studies/nvae.py:mnist --workdir=runs/nvae_study

Each run is one of `train_nvae.py` in ARM/seed_SEED of WORKDIR, with its pictures, checkpoints and
result.json; evaluate_nvae.py and sample_nvae.py open it. WORKDIR gets table.md (means, standard
deviations over seeds, paired differences from the baseline), results.jsonl (a line a run),
nelbo.png and kl.png (KL of each group). With --config.judge.run=RUN, of train_classifier.py on the
same images, there are Fréchet distances of samples too. The same command goes on where it was
stopped, in the middle of a run too, and trains only what is missing, also after the config got new
arms or seeds (--allow_config_change). --compile_cache=DIR lets seeds share what they compile.
"""

import dataclasses

from jaxlab import launch, train
from jaxlab import mesh as mesh_lib
from jaxlab.studies import cells
from jaxlab.tasks import classification, images


def main(config, workdir):
    mesh_lib.refuse_several("a study evaluates its runs in one process")
    config, options = config.to_dict(), dataclasses.asdict(launch.options())
    options.pop("profile_dir")
    mesh = mesh_lib.make_mesh(fsdp=config["base"]["fsdp"])
    judge = None
    if config["judge"]["run"]:
        trained = train.load_run(launch.full_path(config["judge"]["run"]), task="classification")
        judge = lambda x: classification.features(trained, x)
        options["judge_sum"] = cells.sum_of(trained.variables)
    found = images.run_study(config, workdir, mesh, judge=judge, **options)
    numbers = {"baseline": config["baseline"], "num_samples": config["bound_samples"]}
    print(images.write_report(found, workdir, **numbers), end="")


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/studies/nvae.py",
        sections={f"base.{name}": known for name, known in images.KEYWORDS.items()},
        reads=("data_dir", "tensorboard", "distributed"),
    )
