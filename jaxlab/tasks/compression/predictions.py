"""What a classifier says of texts: logits, scores by a task's metric, and files to hand in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count
from jaxlab.data.formats.rows import as_numbers
from jaxlab.data.pipelines.buckets import text_eval_batches
from jaxlab.data.text import TextSet, encode
from jaxlab.data.text_tasks import TASKS
from jaxlab.data.wordpiece import load_tokenizer
from jaxlab.errors import InputError, missing
from jaxlab.files import write_atomically
from jaxlab.models import bert

OF_CLASSES = ("accuracy", "f1", "macro_f1", "matthews")
OF_NUMBERS = ("spearman", "pearson")


def score(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """A figure of predictions, the larger the better.

    Args:
      name: of classes "accuracy", "f1" (of class 1, among two), "macro_f1" (mean over classes) or
        "matthews"; of numbers "pearson" or "spearman". A correlation with predictions that are all
        equal is 0.
      logits: [N, classes], or [N] of numbers.
      labels: [N].

    Raises:
      ValueError: the name is unknown, of the other kind, or "f1" among more than two classes.
      ModuleNotFoundError: F1 and Matthews' correlation, without scikit-learn.

    Example:
      >>> logits = np.array([[0, 1], [1, 0], [0, 1]])
      >>> round(score("f1", logits, np.array([1, 1, 1])), 3)
      0.8
      >>> round(score("pearson", np.array([0.0, 1, 2]), np.array([1.0, 2, 3])), 3)
      1.0
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    known = OF_NUMBERS if logits.ndim == 1 else OF_CLASSES
    if name not in known:
        kind = "numbers" if logits.ndim == 1 else "classes"
        raise InputError(f"metric is {name!r}, of {kind} there are {', '.join(known)}")
    if name in OF_NUMBERS:
        if np.ptp(logits) == 0 or np.ptp(labels) == 0:
            return 0.0
        from scipy import stats  # loads slowly

        run = stats.spearmanr if name == "spearman" else stats.pearsonr
        return float(run(logits, labels).statistic)  # type: ignore[attr-defined]
    chosen = logits.argmax(-1)
    if name == "accuracy":
        return float(np.mean(chosen == labels))
    try:
        from sklearn import metrics
    except ModuleNotFoundError as error:
        raise missing("scikit-learn", "text", whose=f"metric {name!r}") from error
    if name == "matthews":
        return float(metrics.matthews_corrcoef(labels, chosen))
    if name == "f1" and logits.shape[1] != 2:
        raise InputError(f"metric 'f1' is of two classes, there are {logits.shape[1]}: macro_f1")
    average = "binary" if name == "f1" else "macro"
    return float(metrics.f1_score(labels, chosen, average=average, zero_division=0))  # type: ignore


def metrics_of(config: Mapping[str, Any], num_labels: int) -> tuple[str, ...]:
    """The metrics of a study, the first the one to report and to choose by.

    Args:
      config: the keys of `configs/theseus/study.py`: `metric` of its own, or "" for the task's.
      num_labels: 1 for regression.

    Raises:
      ValueError: `metric` is none of these labels.

    Example:
      >>> metrics_of({"metric": "", "data": {"name": "glue/mrpc"}}, 2)
      ('f1', 'accuracy')
      >>> metrics_of({"metric": "", "data": {"name": "csv"}}, 1)
      ('spearman', 'pearson')
      >>> metrics_of({"metric": "matthews", "data": {"name": "csv"}}, 2)
      ('matthews', 'accuracy')
    """
    if (task := TASKS.get(config["data"]["name"])) is not None:
        own = task.metrics
    else:
        own = OF_NUMBERS if num_labels == 1 else ("accuracy",)
    name = config.get("metric") or own[0]
    # Looked at before anything is trained: also whether scikit-learn is there.
    score(name, np.array([0.0, 1]) if num_labels == 1 else np.eye(2, num_labels), np.array([0, 1]))
    return (name, *(other for other in own if other != name))


def make_logits_step(
    logits_fn: Callable[..., jax.Array], *, mesh: jax.sharding.Mesh | None = None
) -> Callable[..., dict[str, jax.Array]]:
    """Makes `step(params, model_state, batch)` -> logits, places and mask of the whole batch."""

    def step(params, model_state, batch):
        logits = logits_fn(params, model_state, batch)
        return {"logits": logits, "index": batch["index"], "mask": batch["mask"]}

    if mesh is None:
        return jax.jit(step)
    given, rows = mesh_lib.given_sharding(mesh), mesh_lib.split(mesh)
    run = mesh_lib.splitting_over(mesh)(step)
    return jax.jit(run, in_shardings=(given, given, rows), out_shardings=mesh_lib.replicated(mesh))


def collect_logits(
    step: Callable[..., dict[str, jax.Array]],
    params: Any,
    model_state: Any,
    batches: Iterable[Any],
    *,
    mesh: jax.sharding.Mesh | None = None,
) -> np.ndarray:
    """Logits of all texts, in the order of their set; every process gets all.

    Args:
      step: from `make_logits_step`, with the same mesh.
      params: of the model.
      model_state: of the model.
      batches: from `text_eval_batches`.
      mesh: the mesh.
    """
    found: dict[int, np.ndarray] = {}
    for batch in batches:
        out = jax.device_get(step(params, model_state, mesh_lib.shard_batch(mesh, batch)))
        real = out["mask"] > 0
        found |= dict(zip(out["index"][real].tolist(), out["logits"][real], strict=True))
    return np.stack([found[i] for i in range(len(found))])


def make_classify(
    model: bert.Bert, head: bert.SequenceClassifier, *, mesh: jax.sharding.Mesh | None = None
) -> Callable[..., dict[str, jax.Array]]:
    """`make_logits_step` of a model with parameters {"bert", "head"}."""
    return make_logits_step(
        lambda params, _, batch: bert.apply_classifier(model, head, params, batch), mesh=mesh
    )


def classify_texts(
    folder: epath.PathLike,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    batch_size: int = 64,
    max_length: int = 128,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the classifier of a model folder says of texts.

    Args:
      folder: of a model with a classifier: a stage of a study, or any Hugging Face BERT.
      texts: N texts, the longest cut.
      pairs: the second text of each; None for single texts.
      batch_size: texts at a time.
      max_length: most tokens of a text or a pair, as far as the model takes as many.

    Returns:
      Logits [N, classes], or [N] of regression, and the names of the classes.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: it has no classifier, there is no text, or a number is out of range.
    """
    check_count("batch_size", batch_size)
    check_count("max_length", max_length, at_least=5)
    place = bert.model_folder(folder) or epath.Path(folder)
    model, body = bert.load_pretrained(place)
    if "classifier" not in (heads := bert.load_heads(place)):
        raise InputError(f"{place} has no classifier: a stage of compress_bert.py has one")
    head, top = heads["classifier"]
    assert isinstance(head, bert.SequenceClassifier)
    longest = min(max_length, model.max_positions)
    given = TextSet(texts, np.zeros(len(texts), np.float32), (), pairs)
    if not len(given):
        raise InputError("there is no text")
    tokens = encode(given, load_tokenizer(str(place)), max_length=longest, truncate=True)
    buckets = sorted({*(n for n in (16, 32, 64, 128, 256) if n < longest), longest})
    batches = text_eval_batches(tokens, batch_size, buckets=buckets)
    step = make_classify(model, head)
    logits = collect_logits(step, {"bert": body, "head": top}, {}, batches)
    return logits, head.label_names or tuple(f"LABEL_{i}" for i in range(head.num_labels))


def score_labels(
    logits: np.ndarray, names: Sequence[str], labels: Sequence[Any]
) -> dict[str, float]:
    """Accuracy, or both correlations, of predictions by labels as a table has them.

    Args:
      logits: from `classify_texts`.
      names: of the classes.
      labels: words or numbers; see `bert.match_labels`.

    Raises:
      ValueError: a label is missing, or none of the classes.

    Example:
      >>> score_labels(np.array([[2.0, 1], [0, 3]]), ("no", "yes"), ["NO", "no"])
      {'accuracy': 0.5}
    """
    if logits.ndim == 1:
        numbers = as_numbers(labels)
        if numbers is None or not np.isfinite(numbers).all():
            raise InputError("labels must be numbers, as those that the model gives")
        return {name: score(name, logits, numbers) for name in OF_NUMBERS}
    seen = sorted({str(label) for label in labels})
    number = {label: bert.match_labels(names, [label], len(names)) for label in seen}
    if unknown := [label for label in seen if number[label] is None]:
        raise InputError(f"labels hold {unknown[0]!r}, the classes are {', '.join(names)}")
    number = {label: places[0] for label, places in number.items() if places}
    return {"accuracy": score("accuracy", logits, np.array([number[str(x)] for x in labels]))}


def write_predictions(
    path: epath.PathLike, logits: np.ndarray, label_names: Sequence[str] = ()
) -> None:
    r"""Writes `index TAB prediction`, as GLUE's and others' submissions are.

    Args:
      path: the file; folders are made.
      logits: [N, classes], or [N] of numbers.
      label_names: of the classes; numbers where there are none.

    Example:
      >>> import tempfile
      >>> path = epath.Path(tempfile.mkdtemp()) / "predictions.tsv"
      >>> write_predictions(path, np.array([[2.0, 1], [0, 3]]), ("no", "yes"))
      >>> path.read_text().split()
      ['index', 'prediction', '0', 'no', '1', 'yes']
    """
    if logits.ndim == 1:
        said = [f"{x:.6g}" for x in logits.tolist()]
    else:
        chosen = logits.argmax(-1).tolist()
        said = [str(label_names[k]) if label_names else str(k) for k in chosen]
    lines = ["index\tprediction", *(f"{i}\t{word}" for i, word in enumerate(said))]
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(lines) + "\n")
