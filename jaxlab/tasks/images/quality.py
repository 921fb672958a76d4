"""How good samples are, by the features of a classifier trained on the same kind of images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab import train
from jaxlab.checks import check_count
from jaxlab.data.formats.npz import npz_keys, read_arrays
from jaxlab.errors import InputError
from jaxlab.models.nvae.latent_inputs import check_temperature
from jaxlab.studies import tables
from jaxlab.tasks.images.exports import draw_samples
from jaxlab.tasks.images.pictures import Pictures, temperature_label

CONFIDENT = 0.95  # probability of its class from which on a picture is confidently one
QUALITY_FILE = "quality.json"  # of figures in a run's folder
Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    r"""Fréchet distance of the normal distributions fitted to two sets of features.

    .. math:: \lVert m_a - m_b \rVert^2 + \operatorname{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})

    It falls with the number of rows, by a bias of the order D / N: compare sets of one size.

    Args:
      a: [N, D], N >= 2.
      b: [M, D], M >= 2.

    Returns:
      At least 0, in squared units of the features; 0 for the same rows.

    Raises:
      ValueError: the shapes do not fit, or a value is not finite.

    Example:
      >>> x = np.array([[0.0], [2.0]])
      >>> round(frechet_distance(x, 2 * x), 6)  # means 1 and 2, deviations sqrt(2) and 2 sqrt(2)
      3.0

    Source: Dowson and Landau, 1982; with features of an Inception network it is the FID of Heusel
    et al., 2017, arXiv:1706.08500.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(f"features have shapes {a.shape}, {b.shape}, must be [N, D], [M, D], >= 2")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("features hold a value that is not finite")
    gap = a.mean(0) - b.mean(0)
    one, two = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # The eigenvalues of C_a C_b are those of the symmetric C_a^(1/2) C_b C_a^(1/2).
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    mixed = np.sqrt(np.clip(np.linalg.eigvalsh(root @ two @ root), 0, None)).sum()
    return float(max(gap @ gap + np.trace(one) + np.trace(two) - 2 * mixed, 0.0))


def compare(features: np.ndarray, logits: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    """What a classifier says of pictures next to the features of known images.

    Args:
      features: [N, D], what its head sees of the pictures.
      logits: [N, K], of the pictures.
      known: [M, D], features of the images.

    Returns:
      frechet; confident, the share of pictures whose class has a probability of `CONFIDENT` or
      more; classes, the shares of the K classes; pictures, N.

    Raises:
      ValueError: see `frechet_distance`.

    Example:
      >>> x = np.array([[0.0], [2.0]])
      >>> compare(x, np.array([[9.0, 0.0], [0.1, 0.0]]), x)["confident"]
      0.5
    """
    weights = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
    largest = weights.max(-1) / weights.sum(-1)
    counts = np.bincount(logits.argmax(-1), minlength=logits.shape[-1])
    return {
        "frechet": frechet_distance(features, known),
        "confident": float((largest >= CONFIDENT).mean()),
        "classes": (counts / len(logits)).tolist(),
        "pictures": len(logits),
    }


def judge_samples(
    run: train.LoadedRun,
    judge: Judge,
    *,
    num: int = 2000,
    temperatures: Sequence[float | Sequence[float]] = (1.0,),
    reestimate: int = 0,
    likelihood: bool = False,
    seed: int = 0,
    others: Mapping[str, np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
    """Compares a run's samples, and its held-out images, with its training images.

    Args:
      run: from `train.load_run`.
      judge: uint8 [n, height, width, channels] -> (features [n, D], logits [n, K]), such as
        `tasks.classification.features` of a classifier's run gives.
      num: samples at each temperature, >= 2.
      temperatures: factors on the prior's sigma; an item is one number, or one per group.
      reestimate: batches of samples on which batch statistics are measured anew; 0 for none.
      likelihood: draw pixels from p(x | z) instead of its mean.
      seed: of the samples.
      others: name -> pictures to judge as well, uint8 [n, height, width, channels].

    Returns:
      "held-out images", "t = TEMPERATURE" ... and the others' names -> see `compare`; "held-out
      images" is what the figures of real images are.

    Raises:
      ValueError: a number is out of range, or pictures have another shape than the images.
    """
    check_count("num", num, at_least=2)
    for heat in temperatures:
        check_temperature(heat, run.model.num_groups)
    known = run.load_data("train").images
    for name, pictures in (others or {}).items():
        if pictures.shape[1:] != known.shape[1:]:
            raise InputError(f"{name} has pictures {pictures.shape}, the run's are {known.shape}")
    features, _ = judge(known)
    held_out = run.load_data(run.config["eval_split"], limit=num).images
    rows = {"held-out images": compare(*judge(held_out), features)}
    drawing = Pictures(run, seed=seed, reestimate=reestimate)
    for heat in temperatures:
        drawn = draw_samples(drawing, num, temperature=heat, likelihood=likelihood)
        rows[temperature_label(heat)] = compare(*judge(drawn), features)
    rows |= {name: compare(*judge(x), features) for name, x in (others or {}).items()}
    return rows


def quality_table(rows: Mapping[str, Any]) -> str:
    """A Markdown table of what `judge_samples` found; other entries of quality.json are left out.

    Example:
      >>> print(quality_table({"t = 1": {"frechet": 2.5, "confident": 0.5, "pictures": 9}}))
      | pictures | number | Fréchet distance | confident |
      | --- | --- | --- | --- |
      | t = 1 | 9 | 2.500 | 50.0 % |
      <BLANKLINE>
    """
    lines = [
        [name, str(row["pictures"]), f"{row['frechet']:.3f}", f"{100 * row['confident']:.1f} %"]
        for name, row in rows.items()
        if isinstance(row, Mapping)
    ]
    return tables.markdown(["pictures", "number", "Fréchet distance", "confident"], lines)


def read_pictures(path: str | Path, channels: int) -> np.ndarray:
    """The pictures of an npz of other tools: uint8 [N, height, width, 3] as "arr_0", or "images".

    Args:
      path: FILE.npz.
      channels: 1 takes the first of three equal ones.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds no such array.
    """
    try:
        keys = npz_keys(Path(path))
        name = next((n for n in ("arr_0", "images") if n in keys), None)
        found = None if name is None else read_arrays(Path(path), [name])[name]
    except InputError as error:
        raise InputError(f"{path}: not an npz file of pictures ({error})") from error
    if found is None or found.ndim != 4 or found.dtype != np.uint8 or not len(found):
        shape = None if found is None else (found.dtype.name, found.shape)
        raise InputError(f"{path}: arr_0 is {shape}, must be uint8 [N, height, width, channels]")
    if channels == 1 and found.shape[-1] == 3 and (found == found[..., :1]).all():
        return found[..., :1]
    return found
