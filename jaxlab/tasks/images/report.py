"""What a study of NVAE leaves: a record a cell, tables and pictures."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxlab import plots
from jaxlab.files import to_json, write_atomically
from jaxlab.studies import tables
from jaxlab.studies.cells import RESULTS

Record = Mapping[str, Any]


def write_report(
    found: Iterable[tuple[str, int, Record]],
    workdir: epath.PathLike,
    *,
    baseline: str,
    num_samples: int,
) -> str:
    """Writes results.jsonl, table.md, nelbo.png and kl.png of a study; returns its tables.

    Args:
      found: (arm, seed, record) of every cell, as `run_study` yields them.
      workdir: the folder.
      baseline: an arm.
      num_samples: of the bound.
    """
    workdir, records, lines = epath.Path(workdir), {}, []
    for arm, seed, record in found:
        records.setdefault(arm, []).append(record)
        lines.append(to_json({"arm": arm, "seed": seed, **record}) + "\n")
    table = study_table(records, baseline=baseline, num_samples=num_samples)
    if samples := samples_table(records):
        table += f"\n{samples}"
    write_atomically(workdir / RESULTS, "".join(lines))
    write_atomically(workdir / "table.md", table)
    whole = {arm: rows for arm, of in records.items() if (rows := _whole(of))}
    if whole:
        nelbos = {arm: [r["nelbo"] for r in rows] for arm, rows in whole.items()}
        label = "held-out NELBO (nats), one dot per seed"
        plots.dots(nelbos, workdir / "nelbo.png", xlabel=label)
        means = {arm: [np.mean(v) for v in _groups(rows).values()] for arm, rows in whole.items()}
        plots.stacks(means, workdir / "kl.png", xlabel="KL of each group, coarse to fine (nats)")
    return table


def _whole(records: Sequence[Record]) -> list[Record]:
    """Those of runs that did not diverge."""
    return [record for record in records if "diverged" not in record]


def _groups(records: Sequence[Record]) -> dict[str, list[float]]:
    """kl_00, kl_01, ... -> the value of each record."""
    names = sorted({n for record in records for n in record if re.fullmatch(r"kl_\d+", n)})
    return {name: [record[name] for record in records] for name in names}


def study_table(records: Mapping[str, Sequence[Record]], *, baseline: str, num_samples: int) -> str:
    """A Markdown table: figures of each arm in nats, and paired differences from the baseline.

    Args:
      records: arm -> records of the same seeds in the same order.
      baseline: an arm.
      num_samples: of the bound.

    Example:
      >>> found = lambda nelbo: {"nelbo": nelbo, "kl_00": 1.0, "active_channels": 3}
      >>> arms = {"base": [found(8.0), found(9.0)], "wide": [found(7.0), {"diverged": "nan"}]}
      >>> print(study_table(arms, baseline="base", num_samples=0).splitlines()[-1])
      | wide | 1 of 2 | 7.00 | -1.00 | - | 3.00 | 1.00 | - |
    """
    head = ["arm", "runs", "NELBO, mean ± sd", f"difference from {baseline} [95 %]"]
    head += [f"bound of {num_samples}", "active channels", "KL per group", "skipped steps"]
    rows = []
    for arm, found in records.items():
        whole = _whole(found)
        values = lambda name, whole=whole: [r[name] for r in whole if name in r]
        pairs = [
            (ours["nelbo"], theirs["nelbo"])
            for ours, theirs in zip(found, records[baseline], strict=True)
            if "nelbo" in ours and "nelbo" in theirs
        ]
        row = [arm, f"{len(whole)} of {len(found)}", tables.spread(values("nelbo"))]
        gap = tables.difference(*np.reshape(pairs, (-1, 2)).T, scale=1.0)
        row.append("" if arm == baseline else gap)
        row += [tables.spread(values(name)) for name in ("bound", "active_channels")]
        row.append(", ".join(tables.spread(kl) for kl in _groups(whole).values()) or "-")
        rows.append([*row, tables.spread(values("skipped_steps"))])
    return tables.markdown(head, rows)


def samples_table(records: Mapping[str, Sequence[Record]]) -> str:
    """A Markdown table of what a judge found of the samples; "" where none was asked.

    Args:
      records: arm -> records of its seeds, see `run_study`.

    Example:
      >>> found = {"frechet_0.8": 2.5, "confident_0.8": 0.5}
      >>> found |= {"frechet_0.8_reestimated": 2.0, "confident_0.8_reestimated": 0.75}
      >>> print(samples_table({"base": [found]}).splitlines()[-1])
      | base | 2.50 | 2.00 | 50.00 | 75.00 |
    """
    names = {name for found in records.values() for record in found for name in record}
    heats = sorted({n.split("_")[1] for n in names if n.startswith("frechet_")}, key=float)
    columns = {
        f"{title}, t = {heat}{', statistics anew' * bool(end)}": (f"{kind}_{heat}{end}", shown)
        for kind, title, shown in (
            ("frechet", "Fréchet", tables.spread),
            ("confident", "confident (%)", tables.percent),
        )
        for heat in heats
        for end in ("", "_reestimated")
    }
    rows = [
        [arm, *(shown([r[name] for r in found if name in r]) for name, shown in columns.values())]
        for arm, found in records.items()
    ]
    return tables.markdown(["arm", *columns], rows) if columns else ""
