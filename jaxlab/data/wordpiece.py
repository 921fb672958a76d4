"""BERT's tokenizer: read from a model folder, or trained on texts. Needs `tokenizers`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxlab.errors import InputError, MissingPackageError
from jaxlab.files import write_atomically

if TYPE_CHECKING:
    import tokenizers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def library() -> Any:
    """The package `tokenizers`, which not every installation has.

    Raises:
      ModuleNotFoundError: it is missing; says how to get it.
    """
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise MissingPackageError("tokenizers is missing: pip install -e '.[text]'") from error
    return tokenizers


def load_tokenizer(directory: str | Path) -> tokenizers.Tokenizer:
    """Reads the tokenizer of a model folder, its padding and truncation switched off.

    Args:
      directory: a folder with tokenizer.json or, as old ones have it, vocab.txt.

    Returns:
      A `tokenizers.Tokenizer`: `.encode(text).ids`, `.encode(a, b).type_ids`, `.decode(ids)`.

    Raises:
      FileNotFoundError: the folder has neither file.
      ValueError: the file is damaged, or the vocabulary lacks a special token.
    """
    folder, package = Path(directory), library()
    if (folder / "tokenizer.json").is_file():
        try:
            tokenizer = package.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
    elif (folder / "vocab.txt").is_file():
        # Not splitlines, which also cuts at characters that may be tokens, such as U+2028.
        lines = (folder / "vocab.txt").read_text(encoding="utf8").removesuffix("\n").split("\n")
        vocab = {token: i for i, token in enumerate(lines)}
        model = package.models.WordPiece(vocab, unk_token="[UNK]")
        tokenizer = _bert(model, **_settings(folder / "tokenizer_config.json"))
    else:
        raise FileNotFoundError(f"{folder} has neither tokenizer.json nor vocab.txt")
    missing = [token for token in SPECIAL[:4] if tokenizer.token_to_id(token) is None]
    if missing:
        raise InputError(f"the vocabulary in {folder} lacks {', '.join(missing)}")
    if tokenizer.post_processor is None:
        _add_template(tokenizer)
    # Files often carry the padding and the length that some training run used.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def train_wordpiece(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = True, min_frequency: int = 2
) -> tokenizers.Tokenizer:
    """Trains a WordPiece vocabulary, for a model from scratch.

    Text is normalised and cut as BERT's tokenizers do it: control characters go, Chinese
    characters stand alone, accents go with upper case.

    Args:
      texts: the training texts, and no others.
      vocab_size: tokens in all, the five special ones included; fewer come out of little text.
      lowercase: whether case and accents are dropped.
      min_frequency: how often a pair must be seen to be joined.

    Returns:
      A tokenizer as `load_tokenizer` returns it; [PAD] is 0. The same texts give the same
      vocabulary.

    Raises:
      ValueError: vocab_size leaves no room beside the special tokens.

    Example:
      >>> tokenizer = train_wordpiece(["low lower lowest"] * 3, 40)
      >>> tokenizer.encode("Lower").tokens
      ['[CLS]', 'lower', '[SEP]']
    """
    if vocab_size <= len(SPECIAL):
        raise InputError(f"vocab_size is {vocab_size}, must be above {len(SPECIAL)}")
    texts = list(texts)
    tokenizer = _bert(library().models.WordPiece(unk_token="[UNK]"), lowercase=lowercase)
    # The library numbers characters in an order that changes from run to run, and breaks ties
    # between pairs by these numbers: given beforehand, they are the same in every run.
    words = {
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(  # type: ignore[union-attr]
            tokenizer.normalizer.normalize_str(text)  # type: ignore[union-attr]
        )
    }
    characters = {word[0] for word in words} | {f"##{c}" for word in words for c in word[1:]}
    trainer = library().trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL, *sorted(characters)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pieces = sorted(set(tokenizer.get_vocab()) - set(SPECIAL))
    vocab = {token: i for i, token in enumerate([*SPECIAL, *pieces])}
    model = library().models.WordPiece(vocab, unk_token="[UNK]")
    tokenizer = _bert(model, lowercase=lowercase)
    _add_template(tokenizer)
    return tokenizer


def own_tokenizer(
    texts: Iterable[str], vocab_size: int, directory: epath.PathLike | None = None
) -> tokenizers.Tokenizer:
    """`train_wordpiece` once a folder: where the folder has a tokenizer, that one is read.

    Args:
      texts: as for `train_wordpiece`.
      vocab_size: likewise.
      directory: of tokenizer.json, made if it is missing; None keeps nothing.

    Raises:
      ValueError: the folder's tokenizer has more than vocab_size tokens.
    """
    if directory is None:
        return train_wordpiece(texts, vocab_size)
    file = epath.Path(directory) / "tokenizer.json"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, train_wordpiece(texts, vocab_size).to_str())
    tokenizer = load_tokenizer(str(directory))
    size = tokenizer.get_vocab_size()
    if size > vocab_size:
        raise InputError(
            f"{file} has {size} tokens, vocab_size is {vocab_size}: take another folder"
        )
    return tokenizer


def _settings(file: Path) -> dict[str, Any]:
    """What an old folder's tokenizer_config.json, which may be absent, says to `_bert`."""
    try:
        found = json.loads(file.read_text(encoding="utf8")) if file.is_file() else {}
        lowercase = found.get("do_lower_case", True)
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file} is not a JSON object: {error}") from error
    return {
        "lowercase": lowercase,
        "strip_accents": found.get("strip_accents"),
        "handle_chinese_chars": found.get("tokenize_chinese_chars", True),
    }


def _bert(model, **settings: Any) -> tokenizers.Tokenizer:
    tokenizer = library().Tokenizer(model)
    tokenizer.normalizer = library().normalizers.BertNormalizer(**settings)
    tokenizer.pre_tokenizer = library().pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _add_template(tokenizer: tokenizers.Tokenizer) -> None:
    tokenizer.add_special_tokens([t for t in SPECIAL if tokenizer.token_to_id(t) is not None])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = library().processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
