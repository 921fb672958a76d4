"""A trained model to share: its export, and a card that says what it is."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxlab import train
from jaxlab.errors import InputError
from jaxlab.files import read_json, read_record, write_atomically
from jaxlab.models import nvae
from jaxlab.tasks.images.exports import export
from jaxlab.tasks.images.quality import QUALITY_FILE, quality_table

_NUMBER = int | float
_FIGURES = {"step": int, "weights": str, "split": str, "images": int, "bound_samples": int}
_FIGURES |= {"nelbo": _NUMBER} | dict.fromkeys(("nelbo_se", "bound", "bound_se"), _NUMBER | None)
_ROW = {"frechet": _NUMBER, "confident": _NUMBER, "pictures": int}  # of quality.json


def write_card(
    run: train.LoadedRun,
    workdir: epath.PathLike,
    folder: epath.PathLike,
    *,
    data_licence: str = "not stated",
) -> None:
    """Writes `export` of a run and README.md: data, command, commit, figures, licences.

    Args:
      run: from `train.load_run`.
      workdir: of the run; its `evaluation_*.json` and quality.json are the figures, where they are
        of the weights that are exported, with their own batch statistics.
      folder: made if missing.
      data_licence: of the training images.

    Raises:
      ValueError: a file of the run cannot be read or holds no such figures, or the folder cannot
        be written to or holds a run.
    """
    workdir, folder = epath.Path(workdir), epath.Path(folder)
    record = read_record(workdir)
    evaluated = [_figures(path) for path in sorted(workdir.glob("evaluation_*.json"))]
    evaluated = [f for f in evaluated if _is_of(f, run) and not f.get("refresh")]
    quality = workdir / QUALITY_FILE
    judged = _judged(quality) if quality.exists() else {}
    about = {
        "git_commit": record.get("git_commit"),
        "versions": record.get("versions"),
        "evaluated": {f["split"]: f for f in evaluated},
        "quality": judged if _is_of(judged, run) else None,
        "data_licence": data_licence,
    }
    export(run, folder, about=about)
    write_atomically(folder / "README.md", card(run, about, folder.name))


def _shown(figures: Mapping[str, Any], name: str) -> str:
    value, error = figures.get(name), figures.get(f"{name}_se")
    return "-" if value is None else f"{value:.2f} +- {'-' if error is None else f'{error:.2f}'}"


def _figures(path: epath.Path) -> dict[str, Any]:
    found = read_json(path)
    _check(path, found, _FIGURES)
    return found


def _judged(path: epath.Path) -> dict[str, Any]:
    found = read_json(path)
    rows = [r for r in found.values() if isinstance(r, dict)] if isinstance(found, dict) else []
    for row in rows or [None]:
        _check(path, row, _ROW)
    return found


def _check(path: epath.Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Raises unless `found` has values of the wanted types."""
    values = found if isinstance(found, dict) else {}
    wrong = [n for n, kind in wanted.items() if not isinstance(values.get(n), kind)]
    if wrong:
        raise InputError(
            f"{path} is not what evaluate_nvae.py writes ({', '.join(wrong)} missing or of another "
            "type): delete it and evaluate again"
        )


def _is_of(figures: Mapping[str, Any], run: train.LoadedRun) -> bool:
    """Whether figures are of a run's step and weights."""
    return (figures.get("step"), figures.get("weights")) == (run.step, run.weights)


def card(run: train.LoadedRun, about: Mapping[str, Any], name: str) -> str:
    """The text of README.md; see `write_card` for what `about` holds."""
    config, model = run.config, run.model
    groups = " + ".join(map(str, reversed(model.groups)))
    lines = [
        f"# {name}: a small NVAE of {config['data']['name']}",
        "",
        f"{nvae.parameter_count(run.params):,} parameters, {groups} latent groups from coarse to "
        f"fine, likelihood {model.likelihood!r}. Trained for {run.step:,} steps of "
        f"{config['batch_size']} images; the weights are the "
        f"{'averaged' if run.weights == 'ema' else 'last'} ones.",
        "",
        "    python scripts/sample_nvae.py --pretrained=FOLDER",
        "    python scripts/evaluate_nvae.py --pretrained=FOLDER --split=SPLIT --num_samples=K",
        "",
    ]
    if about["evaluated"]:
        lines += ["| split | images | NELBO (nats) | bound (nats) | K |", "|---|---|---|---|---|"]
    for split, found in about["evaluated"].items():
        lines.append(
            f"| {split} | {found['images']:,} | {_shown(found, 'nelbo')} | "
            f"{_shown(found, 'bound')} | {found['bound_samples']:,} |"
        )
    lines += ["", "+- is the standard error over the images.", ""] if about["evaluated"] else []
    if about["quality"]:
        lines += ["Samples, judged by a classifier (evaluate_nvae.py --judge):", ""]
        lines += [quality_table(about["quality"])]
    lines += [
        f"Config: `config.json`; `python scripts/train_nvae.py --config=FOLDER/config.json "
        f"--workdir=RUN` trains it again. FOLDER is the path of this folder. "
        f"Commit: {about['git_commit'] or 'not known'}.",
        "",
        f"The weights are under the licence of this repository; of the training images: "
        f"{about['data_licence']}.",
        "",
    ]
    return "\n".join(lines)
