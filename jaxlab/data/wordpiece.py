"""BERT's tokenizer: read from a model folder, or trained on texts. Needs `tokenizers`."""

import json
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from etils import epath
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


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
    folder = Path(directory)
    if (folder / "tokenizer.json").is_file():
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
    elif (folder / "vocab.txt").is_file():
        # Not splitlines, which also cuts at characters that may be tokens, such as U+2028.
        lines = (folder / "vocab.txt").read_text(encoding="utf8").removesuffix("\n").split("\n")
        vocab = {token: i for i, token in enumerate(lines)}
        missing = [token for token in SPECIAL[:4] if token not in vocab]
        if missing:
            raise ValueError(f"{folder / 'vocab.txt'} lacks {', '.join(missing)}")
        config = folder / "tokenizer_config.json"
        settings = json.loads(config.read_text()) if config.is_file() else {}
        model = models.WordPiece(vocab, unk_token="[UNK]")  # type: ignore[call-arg]
        tokenizer = _bert(model, lowercase=settings.get("do_lower_case", True))
        _add_template(tokenizer)
    else:
        raise FileNotFoundError(f"{folder} has neither tokenizer.json nor vocab.txt")
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
        raise ValueError(f"vocab_size is {vocab_size}, must be above {len(SPECIAL)}")
    texts = list(texts)
    tokenizer = _bert(models.WordPiece(unk_token="[UNK]"), lowercase=lowercase)  # type: ignore[call-arg]
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
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL, *sorted(characters)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pieces = sorted(set(tokenizer.get_vocab()) - set(SPECIAL))
    vocab = {token: i for i, token in enumerate([*SPECIAL, *pieces])}
    model = models.WordPiece(vocab, unk_token="[UNK]")  # type: ignore[call-arg]
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
    """
    if directory is None:
        return train_wordpiece(texts, vocab_size)
    file = epath.Path(directory) / "tokenizer.json"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(train_wordpiece(texts, vocab_size).to_str())
    return load_tokenizer(str(directory))


def _bert(model, *, lowercase: bool) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    return tokenizer


def _add_template(tokenizer: tokenizers.Tokenizer) -> None:
    tokenizer.add_special_tokens([t for t in SPECIAL if tokenizer.token_to_id(t) is not None])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
