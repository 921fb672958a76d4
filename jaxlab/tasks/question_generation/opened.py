"""A finished generator of questions, opened in one line."""

from collections.abc import Mapping
from typing import Any, Literal

from etils import epath

from jaxlab import checkpoints, data, train
from jaxlab.checks import check_choice
from jaxlab.data.questions import sets
from jaxlab.studies import cells
from jaxlab.tasks.question_generation.folder import load_generator, model_folder
from jaxlab.tasks.question_generation.study import BEST


def open_run(
    config: Mapping[str, Any],
    workdir: epath.PathLike,
    *,
    params: str = "ema",
    step: int | Literal["best"] | None = None,
    data_dir: str | None = None,
) -> train.LoadedRun:
    """The generator that a run ended with; see `train.load_run`.

    Parameters are {"bert", "head"}; `parts` has the `generator`, which the functions of the task
    take, with the same parameters. Data are sets of triples with their tokens. The run keeps the
    best step by the validation texts; another one is of the stage seq2seq.

    Raises:
      FileNotFoundError: the run has not ended.
    """
    folder = epath.Path(workdir)
    generator, stage = load_generator(model_folder(folder)), folder / "seq2seq"
    if step is None:
        found = int(cells.read_result(stage)["used_step"])
    else:
        found, tree, _ = checkpoints.load_params(
            stage / "checkpoints", step=step, ema=params == "ema", best_metric=BEST
        )
        generator = generator._replace(params=tree)

    def load_data(split: str = "test", *, limit: int | None = None) -> sets.QASet:
        check_choice("split", split, data.SPLITS)
        records = sets.load_records(**config["data"], data_dir=data_dir)
        layout = {"order": generator.order, "join": generator.join}
        wanted = {
            name: found[: limit if name == split else None] for name, found in records.items()
        }
        return sets.make_sets(wanted, generator.tokenizer, generator.limits, **layout)[split]

    parts = {"generator": generator, "head": generator.head, "tokenizer": generator.tokenizer}
    model, values = generator.model, generator.params
    return train.LoadedRun(config, found, params, model, values, {}, load_data, parts)
