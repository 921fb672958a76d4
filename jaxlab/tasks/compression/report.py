"""What a study of compression found: a row per arm and depth, and what each module is worth."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxlab import plots, timing
from jaxlab.files import read_json, to_json, write_atomically
from jaxlab.models import bert
from jaxlab.studies import cells, tables
from jaxlab.tasks.compression.arms import REPLACING, last_stage
from jaxlab.tasks.compression.study import Study


def collect(
    workdir: epath.PathLike,
    *,
    seeds: Sequence[int],
    depths: Sequence[int],
    arms: Sequence[str],
    deep: int,
    successor_steps: int,
    metrics: Sequence[str] = ("accuracy",),
) -> dict[str, dict[str, Any]]:
    """Rows of the report, from the records of a study that is done.

    Args:
      workdir: of the study.
      seeds: its seeds.
      depths: layers of the successors.
      arms: see `jaxlab.tasks.compression.arms`.
      deep: layers of the predecessor.
      successor_steps: of the last stage; 0 where there is none.
      metrics: of the task.

    Returns:
      Name -> {"validation/accuracy", "test/accuracy", "test/loss": [seeds], "depth",
      "parameters"}, and the other metrics likewise.

    Raises:
      FileNotFoundError, ValueError: a record is missing or damaged.
    """
    rows, places = {}, {f"predecessor, {deep} layers": "predecessor"}
    for depth, arm in _pairs(depths, arms):
        last = last_stage(arm, successor_steps)
        places[f"{arm}, {depth} layers"] = f"depth_{depth}/{arm}/{last}"
    for name, place in places.items():
        folders = [epath.Path(workdir) / f"seed_{seed}" / place for seed in seeds]
        results = [cells.read_result(folder) for folder in folders]
        figures = [f"{split}/{m}" for m in metrics for split in ("validation", "test")]
        rows[name] = {key: [r[key] for r in results] for key in (*figures, "test/loss")}
        rows[name] |= {key: results[0][key] for key in ("depth", "parameters")}
    return rows


def collect_swaps(
    workdir: epath.PathLike, *, seeds: Sequence[int], depths: Sequence[int], arms: Sequence[str]
) -> dict[str, list[list[float]]]:
    """Points of the test figure that each swapped module costs: name -> [seeds][modules]."""
    found = {}
    for depth, arm in _pairs(depths, [arm for arm in arms if arm in REPLACING]):
        places = [f"seed_{seed}/depth_{depth}/{arm}/sensitivity.json" for seed in seeds]
        files = [read_json(epath.Path(workdir) / place) for place in places]
        found[f"{arm}, {depth} layers"] = [
            [100 * (f["predecessor"] - x) for x in f["swapped"]] for f in files
        ]
    return found


def _pairs(depths: Sequence[int], arms: Sequence[str]) -> Iterator[tuple[int, str]]:
    return ((depth, arm) for depth in depths for arm in arms)


def latency(study: Study) -> dict[int, dict[int, float]]:
    """Median milliseconds of a forward pass of each model: depth -> batch size (1 and 32) -> ms."""
    runs, length = {}, max(study.config["buckets"])
    for depth, model in sorted(study.models.items()):
        ids = jnp.ones((1, 2), jnp.int32)
        params = {"bert": jax.jit(model.init)(jax.random.key(0), ids)["params"]}
        params["head"] = study.initial(0)["head"]
        forward = jax.jit(functools.partial(bert.apply_classifier, model, study.head))
        for batch_size in (1, 32):
            ones = jnp.ones((batch_size, length), jnp.int32)
            batch = {"input_ids": ones, "attention_mask": ones}
            call = functools.partial(forward, params, batch)
            runs[depth, batch_size] = lambda call=call: call().block_until_ready()
    found: dict[int, dict[int, float]] = {}
    for (depth, size), seconds in timing.medians(runs, study.config["latency_repeats"]).items():
        found.setdefault(depth, {})[size] = 1e3 * seconds
    return found


def markdown(
    rows: Mapping[str, Mapping[str, Any]],
    latency: Mapping[int, Mapping[int, float]],
    swaps: Mapping[str, Sequence[Sequence[float]]],
    *,
    train_texts: int,
    test_texts: int,
    metric: str = "accuracy",
) -> str:
    """The report for people.

    Args:
      rows: from `collect`.
      latency: from `latency`.
      swaps: from `collect_swaps`.
      train_texts: their number.
      test_texts: their number.
      metric: the figure.
    """
    lines = []
    for name, row in rows.items():
        control = rows.get(f"truncated, {row['depth']} layers")
        ms, figure, versus = latency[row["depth"]], row[f"test/{metric}"], ""
        if control is not None and control is not row:
            versus = tables.difference(figure, control[f"test/{metric}"])
        shares = [tables.percent(x) for x in (row[f"validation/{metric}"], figure)]
        size = f"{row['parameters'] / 1e6:.2f} M"
        lines.append([name, size, *shares, versus, f"{ms[1]:.1f}", f"{ms[32]:.0f}"])
    seeds = len(next(iter(rows.values()))[f"test/{metric}"])
    said = "accuracies in %" if metric == "accuracy" else f"{metric} times 100"
    head = ["", "parameters", "validation", "test", "minus truncated [95 %]"]
    text = (
        f"{seeds} seeds, {train_texts} training texts, {test_texts} test texts; {said}, "
        "mean ± standard deviation over seeds.\n\n"
        + tables.markdown([*head, "ms, batch 1", "ms, batch 32"], lines)
    )
    for name, values in swaps.items():
        drops = ", ".join(f"{x:.2f}" for x in np.mean(values, 0))
        text += f"\nPoints lost when one module of the predecessor is swapped ({name}): {drops}\n"
    return text


def write_report(config: Any, workdir: epath.Path, study: Study) -> None:
    """Writes report.md, report.json and the figures of a study that is done; prints the first.

    Args:
      config: the config of the study.
      workdir: of the study.
      study: for its models, sets and metrics.
    """
    shown = {name: config[name] for name in ("seeds", "depths", "arms")}
    steps = config.stages.successor.num_steps
    options = {"successor_steps": steps, "metrics": study.metrics}
    rows = collect(workdir, deep=study.deep.num_layers, **options, **shown)
    swaps, times = collect_swaps(workdir, **shown), latency(study)
    record = {"rows": rows, "latency_ms": times, "sensitivity_points": swaps}
    write_atomically(workdir / "report.json", to_json(record, indent=2) + "\n")
    sizes = {f"{split}_texts": len(study.sets[split]) for split in ("train", "test")}
    metric = study.metrics[0]
    text = markdown(rows, times, swaps, metric=metric, **sizes)
    write_atomically(workdir / "report.md", text)
    found = {name: 100 * np.array(row[f"test/{metric}"]) for name, row in rows.items()}
    plots.dots(found, workdir / f"{metric}.png", xlabel=f"test {metric} (%)")
    for depth in config.depths if swaps else ():
        end = f", {depth} layers"
        plots.bars(
            {n.removesuffix(end): np.mean(x, 0) for n, x in swaps.items() if n.endswith(end)},
            workdir / f"sensitivity_{depth}_layers.png",
            title=f"one module swapped ({depth} layers)",
            xlabel="module",
            ylabel=f"{metric} lost (points)",
        )
    print(text, end="")  # at the end: whoever reads it may go away
