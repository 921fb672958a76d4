"""`jaxlab.tasks.images.report`: tables and pictures of a study of NVAE."""

import json

import numpy as np
import pytest
from matplotlib import figure
from PIL import Image
from processes import ROOT

from jaxlab.studies import tables
from jaxlab.tasks import images


def record(nelbo, i=0):
    if nelbo is None:
        return {"diverged": "nan"}
    kl = {"kl_00": 3.0, "kl_01": 4.0 + i}
    return {"nelbo": nelbo, "bound": nelbo - 2, **kl, "active_channels": 5 + i, "skipped_steps": i}


def test_the_table_by_hand():
    nelbos = {
        "base": (100.0, 104.0, 102.0),
        "new": (99.0, 101.0, 101.0),
        "wild": (98.0, None, None),
    }
    records = {arm: [record(nelbo, i) for i, nelbo in enumerate(of)] for arm, of in nelbos.items()}
    lines = images.study_table(records, baseline="base", num_samples=50).splitlines()
    assert "| bound of 50 |" in lines[0]
    assert "NELBO, mean ± sd | difference from base [95 %]" in lines[0]
    assert lines[2] == (
        "| base | 3 of 3 | 102.00 ± 2.00 |  | 100.00 ± 2.00 | 6.00 ± 1.00 | 3.00 ± 0.00, 5.00 ± "
        "1.00 | 1.00 ± 1.00 |"
    )
    half = tables.paired(np.array([-1.0, -3.0, -1.0]), np.zeros(3))[1]
    low, high = -5 / 3 - half, -5 / 3 + half
    assert f"| -1.67 [{low:+.2f}, {high:+.2f}] |" in lines[3]
    assert lines[4].startswith("| wild | 1 of 3 | 98.00 | -2.00 | 96.00 | 5.00 | 3.00, 4.00 |")


def test_samples_by_hand():
    """Temperatures in their order as numbers, columns only of what there is."""
    one = {"frechet_10": 1.0, "confident_10": 0.25, "frechet_0.8": 2.0, "confident_0.8": 0.5}
    two = {**one, "frechet_10": 3.0}
    head, _, row, lost = images.samples_table({"a": [one, two], "b": [{"diverged": "x"}]}).split(
        "\n"
    )[:4]
    assert "| Fréchet, t = 0.8 | Fréchet, t = 0.8, statistics anew | Fréchet, t = 10 |" in head
    assert row.startswith("| a | 2.00 ± 0.00 | - | 2.00 ± 1.41 | - | 50.00 ± 0.00 | - | 25.00")
    assert lost == "| b | - | - | - | - | - | - | - | - |"
    assert images.samples_table({"a": [{"nelbo": 3.0}]}) == ""


@pytest.mark.parametrize("judged", [False, True])
def test_a_report_is_a_line_a_cell_tables_and_pictures(tmp_path, monkeypatch, judged):
    labels = []
    monkeypatch.setattr(
        figure.Figure,
        "savefig",
        lambda self, *a, save=figure.Figure.savefig, **k: (
            labels.append([t.get_text() for t in self.axes[0].texts]),
            save(self, *a, **k),
        ),
    )
    more = {"frechet_1": 2.0, "confident_1": 0.5} if judged else {}
    found = [("base", 0, record(100.0) | more), ("base", 1, record(102.0, 1) | more)]
    found += [("wild", 0, record(None)), ("wild", 1, record(None))]
    table = images.write_report(iter(found), tmp_path, baseline="base", num_samples=5)
    assert (tmp_path / "table.md").read_text() == table
    assert table.count("| base |") == table.count("| wild |") == 1 + judged
    assert "| wild | 0 of 2 | - | - |" in table
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line.pop("arm"), line.pop("seed"), line) for line in lines] == found
    assert labels == [[], ["3.0", "4.5"]]  # means over seeds of the KL of both groups
    for name in ("nelbo", "kl"):
        assert Image.open(tmp_path / f"{name}.png").width == 640


def test_a_report_of_nothing_but_failures_has_a_table_alone(tmp_path):
    images.write_report([("a", 0, record(None))], tmp_path, baseline="a", num_samples=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.jsonl", "table.md"]


def test_the_page_of_the_ablation_says_what_its_records_say():
    """Three seeds of each arm, paired; the tables of the page are made of them."""
    page = (ROOT / "docs/methods/nvae_ablation.md").read_text()
    records, seeds = {}, {}
    for line in (ROOT / "docs/results/nvae_ablation.jsonl").read_text().splitlines():
        row = json.loads(line)
        arm = row.pop("arm")
        seeds.setdefault(arm, []).append(row.pop("seed"))
        records.setdefault(arm, []).append(row)
    assert len(records) > 10
    assert set(map(tuple, seeds.values())) == {(0, 1, 2)}
    table = images.study_table(records, baseline="base", num_samples=50)
    for line in (table + images.samples_table(records)).splitlines():
        assert line in page
