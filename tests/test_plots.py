"""Figures: what is drawn where, and what is refused. Layout was looked at by eye."""

import math

import numpy as np
import pytest
from PIL import Image

from jaxlab import plots


def images(count, value=None, channels=1, size=8):
    rng = np.random.default_rng(count)
    if value is None:
        return rng.uniform(size=(count, size, size, channels)).astype(np.float32)
    return np.full((count, size, size, channels), value, np.float32)


def rows(count, **metrics):
    return [{"step": k, **{n: f(k) for n, f in metrics.items()}} for k in range(1, count + 1)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grid_shows_every_pixel_enlarged(tmp_path, channels, dtype):
    tiles = np.round(images(5, channels=channels) * 255)
    tiles = tiles.astype(np.uint8) if dtype == np.uint8 else (tiles / 255).astype(np.float32)
    plots.image_grid(tiles, tmp_path / "deep" / "grid.png", ncols=3, scale=3)
    sheet = np.asarray(Image.open(tmp_path / "deep" / "grid.png")).reshape(57, 84, channels)
    want = np.round(tiles / (1 if dtype == np.uint8 else 1 / 255)).astype(np.uint8)
    step = 8 * 3 + 3
    for i in range(5):
        y, x = 3 + step * (i // 3), 3 + step * (i % 3)
        np.testing.assert_array_equal(sheet[y : y + 24 : 3, x : x + 24 : 3], want[i])
        np.testing.assert_array_equal(sheet[y + 2 : y + 24 : 3, x + 2 : x + 24 : 3], want[i])
    assert (sheet[33:54, 60:81] == 255).all()  # the empty sixth place is paper


def test_grid_default_is_about_square_and_labels_make_room(tmp_path):
    plots.image_grid(images(9), tmp_path / "a.png", scale=1)
    assert Image.open(tmp_path / "a.png").size == (28, 28)
    plots.image_grid(images(9), tmp_path / "b.png", scale=1, row_labels=["t = 0.7"] * 3, title="T")
    wide = Image.open(tmp_path / "b.png").size
    assert wide[0] > 60
    assert wide[1] > 40


def test_values_outside_zero_and_one_are_clipped(tmp_path):
    tiles = np.concatenate([images(1, -3.0), images(1, 2.0)])
    plots.image_grid(tiles, tmp_path / "a.png", ncols=2, scale=1)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert (sheet[1:9, 1:9] == 0).all()
    assert (sheet[1:9, 10:18] == 255).all()


def test_reconstructions_lie_below_their_originals(tmp_path):
    dark, light = images(6, 0.0), images(6, 0.6)
    plots.reconstruction_grid(dark, light, tmp_path / "r.png", ncols=4, scale=2)
    column = np.asarray(Image.open(tmp_path / "r.png"))[:, -10]  # of the last column: 1 block
    first = np.asarray(Image.open(tmp_path / "r.png"))[:, -65]
    runs = lambda line: [v for v, before in zip(line[1:], line, strict=False) if v != before]
    assert runs(column) == [0, 255, 153, 255]
    assert runs(first) == [0, 255, 153, 255, 0, 255, 153, 255]
    starts = np.flatnonzero((first[1:] != 255) & (first[1:] != first[:-1])) + 1
    assert starts.tolist() == [2, 20, 50, 68]  # a wider gap between the pairs than inside them
    plots.reconstruction_grid(dark, {"1 group": light, "2 groups": light}, tmp_path / "r.png")
    with pytest.raises(ValueError, match=r"output has shape \(2, 8, 8, 1\), originals have \(6"):
        plots.reconstruction_grid(dark, light[:2], tmp_path / "r.png")


def test_neighbours_lie_next_to_their_sample(tmp_path):
    near = np.stack([images(3, 0.2), images(3, 0.4)], axis=1)
    plots.neighbours_grid(images(3, 1.0), near, tmp_path / "n.png", title="", scale=1)
    line = np.asarray(Image.open(tmp_path / "n.png"))[5]
    assert line.tolist() == [255] * 9 + [255] * 7 + [51] * 8 + [255] + [102] * 8 + [255]
    with pytest.raises(ValueError, match=r"neighbours have shape \(2, 2, 8, 8, 1\), samples of"):
        plots.neighbours_grid(images(3), near[:2], tmp_path / "n.png")


def test_images_that_cannot_be_drawn_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images have shape \(4, 8, 8\), \[N, H, W, C\]"):
        plots.image_grid(images(4)[..., 0], tmp_path / "a.png")
    with pytest.raises(ValueError, match="images hold 64 values that are not finite"):
        plots.image_grid(images(1, math.nan), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def drawn(monkeypatch):
    """Keep the figure instead of writing it."""
    kept = []
    monkeypatch.setattr(plots.lines, "save_figure", lambda figure, path: kept.append(figure))
    return kept


def test_curves_draw_each_metric_of_each_run(monkeypatch):
    kept = drawn(monkeypatch)
    one = rows(20, loss=lambda k: 1.0 / k, kl=float)
    two = rows(10, loss=lambda k: 2.0 / k)
    two[4]["loss"] = math.nan
    plots.curves({"one": one, "two": two}, "x.png", ["loss", "k*"])
    panels = [p for p in kept[0].axes if p.get_visible()]
    assert [p.get_title() for p in panels] == ["loss", "kl"]
    lines = {line.get_label(): line.get_xydata() for line in panels[0].lines}
    np.testing.assert_allclose(lines["one"][:, 1], [1 / k for k in range(1, 21)])
    assert lines["two"][:, 0].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10]  # no point for the NaN
    assert [t.get_text() for t in kept[0].legends[0].get_texts()] == ["one", "two"]


def test_curves_over_several_axes_stand_side_by_side(monkeypatch):
    kept = drawn(monkeypatch)
    one = rows(5, loss=float, kl=float)
    timed = [{**row, "step": row["step"] / 2} for row in one]
    plots.curves(one, "x.png", xlabel="steps", other_axes={"minutes": {"": timed}})
    panels = kept[0].axes
    assert [p.get_title() for p in panels] == ["loss", "loss", "kl", "kl"]
    assert [p.lines[0].get_xdata()[-1] for p in panels] == [5, 2.5, 5, 2.5]
    assert [p.get_xlabel() for p in panels] == ["", "", "steps", "minutes"]


def test_curves_smooth_long_lines_and_zoom_past_a_steep_start(monkeypatch):
    kept = drawn(monkeypatch)
    plots.curves(rows(1000, loss=lambda k: 90 + 900 * math.exp(-k / 10) + k % 2), "x.png")
    panel = kept[0].axes[0]
    assert len(panel.lines) == 2  # running mean and raw
    assert panel.get_ylim()[1] < 110
    assert panel.texts[0].get_text() == "starts at 905.4"
    plots.curves(rows(50, loss=lambda k: 100.0 - k), "x.png")
    assert kept[1].axes[0].get_ylim()[1] > 98
    assert not kept[1].axes[0].texts


def test_curves_of_many_metrics_say_what_they_leave_out(monkeypatch):
    kept = drawn(monkeypatch)
    many = [{"step": 1, **{f"kl/{i}": 1.0 for i in range(30)}}]
    plots.curves(many, "x.png")
    assert len(kept[0].axes) == 12
    assert kept[0].get_suptitle() == "(18 more metrics not shown)"
    plots.curves(many, "x.png", ["kl/*"])
    assert sum(p.get_visible() for p in kept[1].axes) == 30


def test_curves_write_a_small_file_and_refuse_what_is_not_there(tmp_path):
    plots.curves(rows(1000, loss=lambda k: 1 / k, kl=float), tmp_path / "sub" / "c.png", title="T")
    picture = Image.open(tmp_path / "sub" / "c.png")
    assert picture.size[0] == 800
    assert (tmp_path / "sub" / "c.png").stat().st_size < 60_000
    with pytest.raises(ValueError, match="there is no metric 'los', the rows hold loss"):
        plots.curves(rows(3, loss=float), tmp_path / "x.png", ["los"])
    with pytest.raises(ValueError, match="there are no metrics to draw in 1 runs"):
        plots.curves([], tmp_path / "x.png")
    plots.curves(rows(3, loss=lambda k: math.nan), tmp_path / "nan.png")


def test_bars(monkeypatch, tmp_path):
    plots.bars([3.0, 1.0], tmp_path / "b.png", title="KL", threshold=0.1)
    assert (tmp_path / "b.png").stat().st_size < 30_000
    kept = drawn(monkeypatch)
    plots.bars({"raw": [3.0, 1.0], "EMA": [2.0, 0.5]}, "x.png", labels=["top", "bottom"])
    panel = kept[0].axes[0]
    assert [bar.get_height() for bar in panel.patches] == [3.0, 1.0, 2.0, 0.5]
    assert [t.get_text() for t in panel.get_xticklabels()] == ["top", "bottom"]
    assert [t.get_text() for t in panel.get_legend().get_texts()] == ["raw", "EMA"]
    with pytest.raises(ValueError, match=r"values EMA have shape \(1,\), \(2,\) is needed"):
        plots.bars({"raw": [3.0, 1.0], "EMA": [2.0]}, "x.png")


def test_comparisons_show_every_method(tmp_path):
    rng = np.random.default_rng(0)
    few = {"a": rng.normal(size=5), "b": rng.normal(size=5)}
    plots.dots(few, tmp_path / "few.png", xlabel="error (%)")
    plots.dots({**few, "c": rng.normal(size=5)}, tmp_path / "many.png")
    heights = [Image.open(tmp_path / f"{name}.png").height for name in ("few", "many")]
    assert heights[1] > heights[0]
    plots.stacks({"a": [1.0, 2.0], "b": [0.0, 3.0, 4.0]}, tmp_path / "stacks.png", xlabel="nats")
    lines = {"a": (np.arange(4), rng.normal(size=(4, 5))), "b": ([0, 9], np.full((2, 1), np.nan))}
    plots.bands(lines, tmp_path / "bands.png", logx=True, ylabel="error")
    plots.tradeoff({"a": ([1, 2], [3, 4]), "b": ([1], [1])}, tmp_path / "tradeoff.png")
    for name in ("bands", "tradeoff", "stacks"):
        assert Image.open(tmp_path / f"{name}.png").width == 640


def test_comparisons_refuse_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"need \(seeds,\)"):
        plots.dots({"a": np.zeros((2, 2))}, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"need \(parts,\)"):
        plots.stacks({}, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"values of 'b' must be numbers of 0 or more"):
        plots.stacks({"a": [1.0], "b": [1.0, np.nan]}, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a: x has shape \(3,\), values \(2, 5\)"):
        plots.bands({"a": (np.arange(3), np.zeros((2, 5)))}, tmp_path / "a.png")
    with pytest.raises(ValueError, match="must be equal vectors"):
        plots.tradeoff({"a": ([1, 2], [1])}, tmp_path / "a.png")
    for draw in (plots.bands, plots.tradeoff):
        with pytest.raises(ValueError, match="no lines"):
            draw({}, tmp_path / "a.png")


def test_dimensions_words_and_entropies_are_drawn(tmp_path, caplog):
    column = lambda *mean: {"mean": list(mean), "sd": [0.1] * len(mean)}
    predicted = {"8.33 log N": 34.0, "joint": 34.0, "conditional": 17.0}
    entry = {"vocab_size": 60, "predicted": predicted}
    two = [{**entry, "held_out": column(9.0, 3.0, 4.0), "held_out_best": column(8.0, 2.5, 2.0)}] * 2
    plots.dimension_sweep((2, 4, 8), two, tmp_path / "two.png")
    assert Image.open(tmp_path / "two.png").size == (612, 288)
    one = {**entry, "held_out": column(3.0), "held_out_best": {"mean": [3.0], "sd": None}}
    plots.dimension_sweep((4,), [one], tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").size == (306, 288)
    places = np.array([[0.0, 0.0], [1.0, 2.0]])
    plots.words_in_plane(places, ["king", "sea"], [0, 3], tmp_path / "words.png")
    sheet = np.asarray(Image.open(tmp_path / "words.png"))[..., :3].astype(int)
    blue = (sheet[..., 2] - sheet[..., 0] > 80).any()  # C0, and C3 is red
    red = (sheet[..., 0] - sheet[..., 2] > 80).any()
    assert blue
    assert red
    dims = np.linspace(1, 10, 50)
    plots.entropy_lines(dims, [("a", 5 - dims, 5.0)], tmp_path / "lines.png", title="t")
    assert Image.open(tmp_path / "lines.png").size == (640, 400)
