"""A trained generator on disk: a Hugging Face folder, and what its sequences look like."""

from typing import Any, NamedTuple

from etils import epath

from jaxlab.data.questions.segments import ORDERS, Limits
from jaxlab.data.wordpiece import load_tokenizer
from jaxlab.errors import InputError
from jaxlab.files import read_json, to_json, write_atomically
from jaxlab.models.bert.heads import MaskedLMHead
from jaxlab.models.bert.model import Bert
from jaxlab.models.bert.pretrained import load_heads, load_pretrained, save_pretrained
from jaxlab.tasks.question_generation.losses import TargetLayout

SETTINGS_FILE = "generator.json"


class Generator(NamedTuple):
    """A model that writes answers and questions.

    Attributes:
      model: the encoder.
      head: its head.
      params: {"bert", "head"}.
      tokenizer: its tokenizer.
      limits: longest parts it was trained on.
      order: "answer_first" or "question_first".
      prefix_parts: see `prefix.inputs`.
      join: whether passages were several sentences; see `cutting.segment`.
    """

    model: Bert
    head: MaskedLMHead
    params: dict[str, Any]
    tokenizer: Any
    limits: Limits
    order: str
    prefix_parts: int
    join: bool

    @property
    def layout(self) -> TargetLayout:
        """How its sequences are read."""
        return make_layout(self.tokenizer, self.limits, self.order, self.prefix_parts)

    @property
    def forbid(self) -> tuple[int, ...]:
        """Tokens that are never written."""
        ids = (self.tokenizer.token_to_id(t) for t in ("[PAD]", "[UNK]", "[CLS]", "[MASK]"))
        return tuple(i for i in ids if i is not None)


def make_layout(tokenizer: Any, limits: Limits, order: str, prefix_parts: int) -> TargetLayout:
    """The layout of sequences.

    Raises:
      ValueError: order or prefix_parts is unknown.
    """
    if order not in ORDERS:
        raise InputError(f"order is {order!r}, known are {ORDERS}")
    if prefix_parts not in (1, 2):
        raise InputError(f"prefix_parts is {prefix_parts}, must be 1 or 2")
    names = ("answer", "question") if order == "answer_first" else ("question", "answer")
    longest = sum(getattr(limits, name) + 1 for name in names[prefix_parts - 1 :])
    return TargetLayout(tokenizer.token_to_id("[SEP]"), longest, names, prefix_parts)


def save_generator(
    directory: epath.PathLike, generator: Generator, *, keep_tokens: Any = None
) -> None:
    """Writes a folder that `load_generator` reads, and transformers as a model of masked tokens.

    Args:
      directory: the folder.
      generator: the model.
      keep_tokens: ids that the tokens had in the vocabulary they were chosen from, or None.
    """
    save_pretrained(
        directory,
        generator.model,
        generator.params["bert"],
        heads={"mlm": (generator.head, generator.params["head"])},
        tokenizer=generator.tokenizer,
    )
    settings = {
        "order": generator.order,
        "prefix_parts": generator.prefix_parts,
        "join": generator.join,
        "limits": {
            name: getattr(generator.limits, name) for name in ("passage", "answer", "question")
        },
        "keep_tokens": None if keep_tokens is None else [int(i) for i in keep_tokens],
    }
    text = to_json(settings) + "\n"
    write_atomically(epath.Path(directory) / SETTINGS_FILE, text)


def model_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder of the model that a run has left, or the folder itself where it is one.

    Raises:
      FileNotFoundError: the run has not ended.
    """
    workdir = epath.Path(workdir)
    if (workdir / "model").exists():
        return workdir / "model"
    if (workdir / "data.json").exists():
        raise FileNotFoundError(f"{workdir / 'model'} is missing: its training has not ended")
    return workdir


def load_generator(directory: epath.PathLike) -> Generator:
    """Reads a folder that `save_generator` wrote.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: the folder has no head that predicts tokens, or a file is damaged.
    """
    folder = epath.Path(directory)
    model, body = load_pretrained(folder)
    heads = load_heads(folder)
    if "mlm" not in heads:
        raise InputError(
            f"{folder} has no head that predicts tokens (cls.predictions.*): train one with "
            "python -m jaxlab train_qa_generation"
        )
    path = folder / SETTINGS_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {folder} was not trained to ask questions")
    settings = read_json(path)
    try:
        limits = Limits(**settings["limits"])
        rest = {name: settings[name] for name in ("order", "prefix_parts", "join")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if limits.total > model.max_positions:
        raise InputError(
            f"{path} has limits of {limits.total} tokens in all, the model takes "
            f"{model.max_positions}"
        )
    for name, allowed in (("order", ORDERS), ("prefix_parts", (1, 2)), ("join", (True, False))):
        if not any(type(rest[name]) is type(x) and rest[name] == x for x in allowed):
            raise InputError(f"{path} has {name} {rest[name]!r}, must be one of {allowed}")
    head, top = heads["mlm"]
    assert isinstance(head, MaskedLMHead)
    params = {"bert": body, "head": top}
    return Generator(model, head, params, load_tokenizer(str(folder)), limits, **rest)


def load_reader(directory: epath.PathLike) -> Generator:
    """The model of a run that answers questions.

    Raises:
      FileNotFoundError, ValueError: as `load_generator`, or the run was trained for something else.
    """
    reader = load_generator(model_folder(directory))
    if reader.layout.targets != ("answer",):
        raise InputError(
            f"{directory} writes {' and '.join(reader.layout.targets)}, a reader is a run with "
            "--config.order=question_first --config.prefix_parts=2"
        )
    return reader
