"""Draw the training curves of one or several runs from their metrics files.

    python scripts/plot_runs.py WORKDIR [WORKDIR ...] --out=curves.png [--metrics=loss,test/*]
    python scripts/plot_runs.py runs/a runs/b --x=minutes --metrics="eval/nelbo=held-out nats"

WORKDIR is a run's folder, or its metrics.jsonl. Each metric gets a panel, called by what stands
after "=", each run a line, labelled with the part of its path that sets it apart. --x=minutes (of
training and compiling, without evaluations and checkpoints) and --x=examples need the run's folder;
--x=minutes,examples draws both, side by side.
"""

import json

from absl import flags

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.files import check_output
from jaxlab.metrics import AXES, on_axis, read_metrics
from jaxlab.plots import curves

_OUT = flags.DEFINE_string("out", "curves.png", "The PNG file to write.")
_METRICS = flags.DEFINE_list(
    "metrics",
    [],
    "Metrics to draw, separated by commas, such as loss,test/*; default the first 12.",
)
_X = flags.DEFINE_list("x", ["step"], f"What metrics are drawn over, of {', '.join(AXES)}.")
_TITLE = flags.DEFINE_string("title", "", "Text above the panels.")


def run_labels(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that differ."""
    parts = [[p for p in path.rstrip("/").split("/") if p != "metrics.jsonl"] for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(p[-length:]) for p in parts]
        if len(set(labels)) == len(labels):
            return labels
    return paths


def read_run(workdir: str) -> list[dict]:
    """Rows of a run's metrics file; errors are one line that names it."""
    path = launch.full_path(workdir)
    if path.is_dir():
        path = path / "metrics.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file (is {workdir} the workdir of a run?)")
    try:
        rows = read_metrics(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no metrics file ({error})") from error
    if not rows:
        raise InputError(f"{path}: holds no metrics yet")
    return rows


def main(workdirs: list[str]) -> None:
    if not workdirs:
        raise launch.UsageError("name at least one workdir; --help shows how")
    if len(set(workdirs)) < len(workdirs):
        raise InputError("a workdir is named twice")
    out = check_output(_OUT.value)
    if not _X.value or len(set(_X.value)) < len(_X.value):
        raise launch.UsageError(f"--x is {','.join(_X.value)!r}, must name axes, each once")
    found = {
        label: (launch.full_path(w), read_run(w))
        for label, w in zip(run_labels(workdirs), workdirs, strict=True)
    }
    sheets = {
        "examples seen" if axis == "examples" else axis: {
            label: on_axis(axis, *run) for label, run in found.items()
        }
        for axis in _X.value
    }
    words = {name: text or name for name, _, text in (m.partition("=") for m in _METRICS.value)}
    (xlabel, runs), *others = sheets.items()
    axes = {"xlabel": xlabel, "other_axes": dict(others)}
    curves(runs, out, list(words), title=_TITLE.value, words=words, **axes)
    print(f"wrote {out}: {', '.join(f'{k} ({len(rows)} rows)' for k, rows in runs.items())}")


if __name__ == "__main__":
    launch.run_tool(main)
