"""BERT's tokenizer: read from a model folder, or trained on texts. Needs `tokenizers`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging
from etils import epath

from jaxlab.checks import check_count
from jaxlab.data.added_tokens import NAMED, SPECIAL, add_tokens, read_object
from jaxlab.data.formats.plain_text import whole_characters
from jaxlab.errors import InputError, missing
from jaxlab.files import write_atomically

if TYPE_CHECKING:
    import tokenizers

# Key of tokenizer_config.json -> (field of the normalizer, default).
_NORMALIZATION = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
_BERT_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
_OTHER_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")


def library() -> Any:
    """The package `tokenizers`, which not every installation has.

    Raises:
      ModuleNotFoundError: it is missing; says how to get it.
    """
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise missing("tokenizers", "text") from error
    return tokenizers


def load_tokenizer(directory: str | Path) -> tokenizers.Tokenizer:
    """Reads the tokenizer of a model folder: the tokens that transformers' AutoTokenizer gives.

    tokenizer_config.json is obeyed before tokenizer.json, as transformers does it for BERT; added
    tokens come from whichever file has them. Padding and truncation are switched off.

    Args:
      directory: a folder with tokenizer.json or, as old ones have it, vocab.txt.

    Returns:
      A `tokenizers.Tokenizer`: `.encode(text).ids`, `.encode(a, b).type_ids`, `.decode(ids)`.

    Raises:
      FileNotFoundError: the folder has neither file.
      ValueError: a file is damaged, asks for a tokenizer that is not BERT's, or contradicts
        another; the vocabulary lacks a special token, or is larger than the embedding that
        config.json names.
    """
    folder, package = Path(directory), library()
    file, vocab_file = folder / "tokenizer.json", folder / "vocab.txt"
    if not file.is_file() and not vocab_file.is_file():
        raise FileNotFoundError(f"{folder} has neither tokenizer.json nor vocab.txt")
    settings, found, model_config = (
        read_object(folder / name) for name in ("tokenizer_config.json", file.name, "config.json")
    )
    if "added_tokens_decoder" not in settings:
        settings |= read_object(folder / "special_tokens_map.json")
    as_it_is = _kind(folder, settings, model_config) and file.is_file()
    if file.is_file():
        try:  # the library raises nothing narrower, and panics in its Rust part
            tokenizer = package.Tokenizer.from_str(json.dumps(found))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        vocab = tokenizer.get_vocab(with_added_tokens=False)
        if not as_it_is and not isinstance(tokenizer.model, package.models.WordPiece):
            kind = type(tokenizer.model).__name__
            raise InputError(f"{file} has a model of type {kind}, a BERT needs WordPiece")
    else:
        vocab = _read_vocab(vocab_file)
    if not as_it_is:
        normal = _normalization(folder, settings, found if file.is_file() else None)
        tokenizer = _bert(package.models.WordPiece(vocab, unk_token="[UNK]"), **normal)
    add_tokens(tokenizer, library().AddedToken, folder, settings, found)
    missing = [token for token in SPECIAL[:4] if tokenizer.token_to_id(token) is None]
    if missing:
        raise InputError(f"the vocabulary in {folder} lacks {', '.join(missing)}")
    if not as_it_is or tokenizer.post_processor is None:
        if as_it_is and model_config:
            raise InputError(f"{file} has no post_processor, which adds [CLS] and [SEP]")
        _add_template(tokenizer)
    size, rows = 1 + max(tokenizer.get_vocab().values()), model_config.get("vocab_size")
    if type(rows) is int and size > rows:
        raise InputError(
            f"the tokenizer in {folder} has {size} tokens, the model's embedding {rows} "
            f"(vocab_size in {folder / 'config.json'}): one of the two is of another model"
        )
    # Files often carry the padding and the length that some training run used.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def save_tokenizer(
    directory: epath.PathLike, tokenizer: tokenizers.Tokenizer, *, max_length: int
) -> None:
    """Writes tokenizer.json, and the tokenizer_config.json without which case is lost.

    Args:
      directory: an existing folder.
      tokenizer: the tokenizer.
      max_length: most tokens that the model takes, special ones included.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> tokenizer = train_wordpiece(["Rome Rome rome rome"], 40, lowercase=False)
      >>> save_tokenizer(folder, tokenizer, max_length=128)
      >>> load_tokenizer(folder).encode("Rome rome").tokens
      ['[CLS]', 'Rome', 'rome', '[SEP]']
    """
    content = json.loads(tokenizer.to_str())
    normal = content["normalizer"] or {}
    settings = {
        theirs: normal.get(ours, default) for theirs, (ours, default) in _NORMALIZATION.items()
    }
    flags = {ours: settings[theirs] for theirs, (ours, _) in _NORMALIZATION.items()}
    model = library().models.WordPiece(tokenizer.get_vocab(with_added_tokens=False))
    plain = _bert(model, **flags)
    _add_template(plain)
    # transformers builds a BERT's tokenizer anew from its vocabulary; another kind it takes whole.
    parts = ("normalizer", "pre_tokenizer", "post_processor", "model")
    theirs = json.loads(plain.to_str())
    same = all(content[part] == theirs[part] for part in parts)
    settings |= {
        "tokenizer_class": "BertTokenizer" if same else "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in content["added_tokens"]
        },
    }
    for name, token in NAMED.items():
        if tokenizer.token_to_id(token) is not None:
            settings[name] = token
    folder = epath.Path(directory)
    write_atomically(folder / "tokenizer.json", tokenizer.to_str())
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "tokenizer_config.json", text)


def train_wordpiece(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = True, min_frequency: int = 2
) -> tokenizers.Tokenizer:
    """Trains a WordPiece vocabulary, for a model from scratch.

    Text is normalised and cut as BERT's tokenizers do it: control characters go, Chinese
    characters stand alone, accents go with upper case.

    Args:
      texts: the training texts, and no others.
      vocab_size: most tokens, the five special ones included; fewer come out of little text. Where
        the characters alone are more, the most frequent are kept, and words with others become
        [UNK].
      lowercase: whether case and accents are dropped.
      min_frequency: how often a pair must be seen to be joined.

    Returns:
      A tokenizer as `load_tokenizer` returns it; [PAD] is 0. The same texts give the same
      vocabulary.

    Raises:
      ValueError: vocab_size leaves no room next to the special tokens.

    Example:
      >>> tokenizer = train_wordpiece(["low lower lowest"] * 3, 40)
      >>> tokenizer.encode("Lower").tokens
      ['[CLS]', 'lower', '[SEP]']
    """
    check_count("vocab_size", vocab_size, at_least=len(SPECIAL) + 1)
    check_count("min_frequency", min_frequency, at_least=0)
    texts = list(map(whole_characters, texts))
    tokenizer = _bert(library().models.WordPiece(unk_token="[UNK]"), lowercase=lowercase)
    words = Counter(
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(  # type: ignore[union-attr]
            tokenizer.normalizer.normalize_str(text)  # type: ignore[union-attr]
        )
    )
    # The library numbers characters in an order that changes from run to run, and breaks ties
    # between pairs by these numbers: given beforehand, they are the same in every run.
    alphabet, limit = _alphabet(words, vocab_size - len(SPECIAL))
    trainer = library().trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL, *alphabet],
        show_progress=False,
        **limit,
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
    """`train_wordpiece` once per folder: where the folder has a tokenizer, that one is read.

    Args:
      texts: as for `train_wordpiece`.
      vocab_size: likewise.
      directory: of tokenizer.json, made if it is missing; None keeps nothing.

    Raises:
      ValueError: the folder has a tokenizer of more than vocab_size tokens, or a damaged one.
    """
    file = None if directory is None else epath.Path(directory) / "tokenizer.json"
    if file is not None and file.exists():
        try:
            tokenizer = load_tokenizer(str(directory))
        except InputError as error:
            raise InputError(f"{error}; delete {file} to train it again") from error
        if (size := tokenizer.get_vocab_size()) > vocab_size:
            raise InputError(
                f"{file}, of an earlier run, has {size} tokens, vocab_size is {vocab_size}: take "
                "another folder"
            )
        return tokenizer
    texts = list(map(whole_characters, texts))
    tokenizer = train_wordpiece(texts, vocab_size)
    _warn_of_unknown(texts, tokenizer)
    if file is not None:
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, tokenizer.to_str())
    return tokenizer


def _alphabet(words: Counter[str], room: int) -> tuple[list[str], dict[str, int]]:
    """Characters to give the trainer beforehand, and what it must know where some are left out.

    The trainer adds every character as it begins a word, and as it goes on with one where it does.
    """
    begin = {word[0] for word in words}
    inside = {character for word in words for character in word[1:]}
    if len(begin | inside) + len(inside) <= room:
        return sorted(begin | {f"##{c}" for c in inside}), {}
    count: Counter[str] = Counter()
    for word, times in words.items():
        for character in word:
            count[character] += times
    kept: list[str] = []
    for character in sorted(count, key=lambda c: (-count[c], c)):
        forms = [character, *([f"##{character}"] if character in inside else [])]
        if len(kept) + len(forms) <= room:
            kept += forms
    return sorted(kept), {"limit_alphabet": 0}


def _warn_of_unknown(texts: Sequence[str], tokenizer: tokenizers.Tokenizer) -> None:
    unknown = total = 0
    unk = tokenizer.token_to_id("[UNK]")
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        unknown += sum(i == unk for i in encoding.ids)
        total += len(encoding.ids)
    if unknown:
        logging.warning(
            "%.1f %% of the training texts' tokens are [UNK]: a vocabulary of %d tokens leaves "
            "characters out",
            100 * unknown / total,
            tokenizer.get_vocab_size(),
        )


def _kind(folder: Path, settings: Mapping[str, Any], model_config: Mapping[str, Any]) -> bool:
    """Whether tokenizer.json is taken as it is, as transformers does for classes of no model."""
    kind, file = settings.get("tokenizer_class"), folder / "tokenizer_config.json"
    if kind is None:
        kind, file = model_config.get("tokenizer_class"), folder / "config.json"
    if kind is None:
        # A file that nothing stands next to is no model folder, and says all itself.
        return not model_config and not any(key in settings for key in _NORMALIZATION)
    name = kind.removesuffix("Fast") if isinstance(kind, str) else kind
    if name not in (*_BERT_CLASSES, *_OTHER_CLASSES):
        raise InputError(
            f"{file} has tokenizer_class {kind!r}, known are {', '.join(_BERT_CLASSES)} (or the "
            "same with Fast) and PreTrainedTokenizerFast"
        )
    return name in _OTHER_CLASSES


def _normalization(
    folder: Path, settings: Mapping[str, Any], found: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Arguments of `_bert`: what the settings say, and otherwise BERT's defaults."""
    file, chosen = folder / "tokenizer_config.json", {}
    for key, (name, default) in _NORMALIZATION.items():
        value = settings.get(key, default)
        allowed = (True, False, None) if default is None else (True, False)
        if not any(value is x for x in allowed):
            raise InputError(f"{file} has {key} {value!r}, must be one of {allowed}")
        chosen[name] = value
        own = ((found or {}).get("normalizer") or {}).get(name, value)
        if key not in settings and own is not value:
            raise InputError(
                f"{folder / 'tokenizer.json'} has {name} {json.dumps(own)}, and {file} does not "
                f"say {key}, for which transformers takes {json.dumps(default)}: write it there"
            )
    return chosen


def _read_vocab(file: Path) -> dict[str, int]:
    try:
        vocab = library().models.WordPiece.read_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{file} is not UTF-8 text, one token per line: {error}") from error
    # A byte order mark belongs to the file, not to its first token.
    return {token.removeprefix("\ufeff"): i for token, i in vocab.items()}


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
