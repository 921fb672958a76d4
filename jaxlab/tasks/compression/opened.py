"""A finished stage of a study of compression, opened in one line."""

from collections.abc import Mapping
from typing import Any, Literal

from etils import epath

from jaxlab import checkpoints, train
from jaxlab.checks import check_choice
from jaxlab.data import text
from jaxlab.data.wordpiece import load_tokenizer
from jaxlab.errors import InputError
from jaxlab.models import bert
from jaxlab.studies import cells
from jaxlab.tasks.compression.kinds import plain_params


def open_run(
    config: Mapping[str, Any],
    workdir: epath.PathLike,
    *,
    params: str = "ema",
    step: int | Literal["best"] | None = None,
    data_dir: str | None = None,
) -> train.LoadedRun:
    """The model that a stage ended with; see `train.load_run`.

    A study has many models: `workdir` is the folder of one, such as
    RUN/seed_0/depth_3/curriculum/successor. Parameters are {"bert", "head"}, `parts` the head and
    the tokenizer, data the encoded texts. A step before the last needs the checkpoints, which
    `keep_checkpoints` leaves.

    Raises:
      ValueError: it is no such folder; those that there are are named.
    """
    folder = epath.Path(workdir)
    if not (folder / "model").exists():
        names = ", ".join(stage_names(folder)) or "none"
        raise InputError(f"{folder} is not that of a finished stage: there are {names}")
    model, body = bert.load_pretrained(folder / "model")
    head, top = bert.load_heads(folder / "model")["classifier"]
    tokenizer = load_tokenizer(str(folder / "model"))
    found, values = cells.read_result(folder)["num_steps"], {"bert": body, "head": top}
    if step is not None:
        saved = folder / "checkpoints"
        found, tree, _ = checkpoints.load_params(saved, step=step, ema=params == "ema")
        values = plain_params(folder.name, tree)

    def load_data(split: str = "test", *, limit: int | None = None) -> text.TokenSet:
        check_choice("split", split, config["limits"])
        limit = limit or config["limits"][split] or None
        texts = text.load_text(**config["data"], data_dir=data_dir, split=split, limit=limit)
        longest = max(config["buckets"])
        return text.encode(texts, tokenizer, max_length=longest, truncate=config["truncate"])

    parts = {"head": head, "tokenizer": tokenizer}
    return train.LoadedRun(config, found, params, model, values, {}, load_data, parts)


def stage_names(folder: epath.PathLike) -> list[str]:
    """The finished stages below a folder, such as seed_0/predecessor."""
    folder = epath.Path(folder)
    depths = ("*/" * depth + "result.json" for depth in range(1, 5))
    found = sorted(path for depth in depths for path in folder.glob(depth))
    return [str(path.parent.relative_to(folder)) for path in found]
