"""`jaxlab.data.questions.segments`: triples as tokens, smaller vocabularies, answers found."""

import numpy as np
import pytest
from squad_files import PASSAGE, squad, write

from jaxlab.data import wordpiece
from jaxlab.data.questions import segments
from jaxlab.data.questions import sets as qa_sets
from jaxlab.data.questions import squad as qa

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def tokenizer():
    text = [PASSAGE, "Where was she born?", "Who wrote notes?", "伦敦在哪里？"] * 3
    return wordpiece.train_wordpiece(text, 400)


@pytest.mark.parametrize("order", segments.ORDERS)
def test_the_layout(tokenizer, order):
    triple = qa.Triple(PASSAGE + " [SEP]", "London", "Where was she born?")
    limits = segments.Limits(40, 3, 8)
    tokens, kept, _ = segments.encode_triples([triple], tokenizer, limits, order=order)
    row = tokenizer.decode(tokens.ids[0].tolist(), skip_special_tokens=False)
    second, third = ("london", "where was she born ?")[:: 1 if order == "answer_first" else -1]
    assert row.startswith("[CLS] ada lovelace wrote notes .")
    assert row.endswith(f"poet . [SEP] {second} [SEP] {third} [SEP]")
    assert kept == [triple]
    assert row.count("[SEP]") == 3  # not the one that the text spells


def test_triples_too_long_are_counted_not_cut(tokenizer):
    rows = [
        qa.Triple(PASSAGE, "London", "Where was she born?"),
        qa.Triple(PASSAGE, "London in 1815", "When?"),
        qa.Triple(PASSAGE, "London", "Where was she born? Where was she born?"),
        qa.Triple(PASSAGE * 2, "London", "Where?"),
    ]
    limits = segments.Limits(30, 1, 6)
    tokens, kept, skipped = segments.encode_triples(rows, tokenizer, limits)
    assert kept == rows[:1]
    assert len(tokens) == 1
    assert skipped == {"answer too long": 1, "question too long": 1, "passage too long": 1}
    with pytest.raises(ValueError, match="none of 1 triples is left"):
        segments.encode_triples(rows[1:2], tokenizer, limits)
    with pytest.raises(ValueError, match="order is 'both'"):
        segments.encode_triples(rows, tokenizer, limits, order="both")
    with pytest.raises(ValueError, match=r"limits\.answer is 0"):
        segments.Limits(3, 0, 4)
    with pytest.raises(ValueError, match="has no tokens"):
        segments.encode_passages(["fine", "  "], tokenizer, 8)


def test_a_reduced_tokenizer_spells_what_it_no_longer_knows(tokenizer):
    texts = ["Where was she born?", "she was born"]
    keep = segments.keep_tokens(texts, tokenizer, vocab_size=50)
    small = segments.reduce_tokenizer(tokenizer, keep)
    assert small.get_vocab_size() == len(keep) <= 50
    names = [tokenizer.id_to_token(int(i)) for i in keep]
    assert [small.id_to_token(i) for i in range(len(keep))] == names
    assert small.encode("She was born?").tokens == ["[CLS]", "she", "was", "born", "?", "[SEP]"]
    spelt = small.encode("shore").tokens[1:-1]
    assert "[UNK]" not in spelt
    assert len(spelt) > 1
    assert small.encode("a", "b").type_ids == tokenizer.encode("a", "b").type_ids
    with pytest.raises(ValueError, match="vocab_size is 6, the special tokens and characters"):
        segments.keep_tokens(texts, tokenizer, vocab_size=6)
    with pytest.raises(ValueError, match=r"\[PAD\] becomes token 1"):
        segments.reduce_tokenizer(tokenizer, keep[::-1][-2:])


def test_whole_sets_hold_out_passages_and_count(tmp_path, tokenizer):
    articles = [squad(f"article {i}", f"{PASSAGE} {i}.") for i in range(10)]
    write(tmp_path / "a.json", *articles)
    missing = squad("other", "Nothing here.", "Where?", [("London", 0)])
    write(tmp_path / "b.json.gz", missing)
    records = qa_sets.load_records(["a.json", "b.json.gz"], tmp_path, shares=(0.2, 0.2))
    assert sum(map(len, records.values())) == 11
    limits = segments.Limits(16, 4, 8)
    sets = qa_sets.make_sets(records, tokenizer, limits)
    # All articles have the sentence with the answer: it is held out, and so not trained on.
    assert sum(s.skipped["answer not in passage"] for s in sets.values()) == 1
    assert sets["train"].skipped["passage held out too"] + len(sets["train"]) >= 5
    passages = [{t.passage for t in sets[name].triples} for name in ("train", "validation")]
    assert not passages[0] & passages[1]
    with pytest.raises(FileNotFoundError, match="c\\.json is missing"):
        qa_sets.load_records(["c.json"], tmp_path)
    with pytest.raises(ValueError, match=r"files is \[\], must name one file"):
        qa_sets.load_records([], tmp_path)


def test_answers_are_found_as_written(tokenizer):
    find = lambda answer, passage=PASSAGE: segments.find_span(
        passage, segments.token_ids(answer, tokenizer), tokenizer
    )
    assert PASSAGE[slice(*find("ada lovelace"))] == "Ada Lovelace"
    assert find("lovelace ada") is None
    assert "在伦敦"[slice(*find("伦敦", "在伦敦"))] == "伦敦"
    ids = segments.encode_passages(["Notes"], tokenizer, 8).ids[0][None]
    starts, ends = segments.span_bounds(np.pad(ids, ((0, 0), (0, 2))), tokenizer)
    assert starts.tolist() == ends.tolist() == [[False, True, False, False, False]]
    text = segments.detokenize(segments.token_ids("伦敦在哪里？", tokenizer), tokenizer)
    assert text == "伦敦在哪里？"
