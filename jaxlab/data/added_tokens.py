"""Tokens that a model folder adds to its vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlab.errors import InputError
from jaxlab.files import read_json

if TYPE_CHECKING:
    import tokenizers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NAMED = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}  # transformers' names of them


def add_tokens(
    tokenizer: tokenizers.Tokenizer,
    token_of: Callable[..., Any],
    folder: Path,
    settings: Mapping[str, Any],
    found: Mapping[str, Any],
) -> None:
    """Adds the tokens that are not in the vocabulary, wherever transformers looks for them.

    Args:
      tokenizer: to which they are added.
      token_of: `tokenizers.AddedToken`.
      folder: of the model.
      settings: of tokenizer_config.json.
      found: of tokenizer.json, or an empty mapping.

    Raises:
      ValueError: a file contradicts another, or cannot be understood.
    """
    file = folder / "tokenizer_config.json"
    try:
        for name, expected in NAMED.items():
            token = settings.get(name, expected)
            token = token["content"] if isinstance(token, dict) else token
            if token not in (expected, None):
                raise InputError(f"{file} has {name} {token!r}, must be {expected!r}")
        if settings.get("split_special_tokens"):
            raise InputError(f"{file} has split_special_tokens true, must be false")
        extra = []
        for key in ("additional_special_tokens", "extra_special_tokens"):
            tokens = settings.get(key) or ()
            if isinstance(tokens, str):
                raise InputError(f"{file} has {key} {tokens!r}, must be a list of tokens")
            for token in tokens.values() if isinstance(tokens, dict) else tokens:
                token = token if isinstance(token, dict) else {"content": token}
                extra.append({**token, "special": True})
        added: dict[int, dict[str, Any]] = {}
        if "added_tokens_decoder" in settings:
            added = {int(i): token for i, token in settings["added_tokens_decoder"].items()}
        else:
            special = {token["content"] for token in extra} | set(SPECIAL)
            for token, i in read_object(folder / "added_tokens.json").items():
                flags = {"special": token in special, "normalized": token not in special}
                added[int(i)] = {"content": token, **flags}
            for token in found.get("added_tokens") or ():
                added[token["id"]] = {key: value for key, value in token.items() if key != "id"}
        for _, token in sorted(added.items()):
            tokenizer.add_tokens([token_of(**token)])
        known = {token["content"] for token in added.values()}
        for token in extra:
            if token["content"] not in known:
                tokenizer.add_tokens([token_of(**token)])
        wrong = [
            (token["content"], i, tokenizer.token_to_id(token["content"]))
            for i, token in added.items()
            if tokenizer.token_to_id(token["content"]) != i
        ]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder} has added tokens that cannot be read (added_tokens_decoder, "
            f"additional_special_tokens or added_tokens.json): {error}"
        ) from error
    if wrong:
        token, said, given = wrong[0]
        raise InputError(
            f"{folder} has an added token {token!r} with number {said}, which the vocabulary "
            f"gives number {given}"
        )


def read_object(file: Path) -> dict[str, Any]:
    """What a JSON file, which may be absent, holds."""
    if not file.is_file():
        return {}
    found = read_json(file)
    if not isinstance(found, dict):
        raise InputError(f"{file} is not a JSON object: it holds a {type(found).__name__}")
    return found
