"""`jaxlab.data.questions.segments`: layouts, reduced vocabularies, texts of tokens and places of
spans, on a vocabulary by hand."""

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from jaxlab.data import wordpiece
from jaxlab.data.questions import segments, squad
from jaxlab.errors import InputError

VOCAB = [*wordpiece.SPECIAL, "who", "wrote", "it", "ada", "love", "##lace", "?", "the", "中", "文",
         "a", "##a", "w", "##b", "."]  # fmt: skip
ID = {token: i for i, token in enumerate(VOCAB)}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf8")
    return wordpiece.load_tokenizer(folder)


def ids(text):
    return [ID[token] for token in text.split()]


def test_tokens_of_a_text(tokenizer):
    found = segments.token_ids("Ada [SEP] lovelace [CLS] [MASK] [PAD] zzz [UNK]?", tokenizer)
    assert found == ids("ada love ##lace [UNK] [UNK] ?")


def test_rows_in_both_orders(tokenizer):
    limits = segments.Limits(4, 3, 2)
    assert limits.total == 13
    good = squad.Triple("Ada wrote it.", "ada", "who?")  # as long as may be, but for the answer
    triples = [good, squad.Triple("ada", "love lovelace", "who?"), good]
    tokens, kept, skipped = segments.encode_triples(triples, tokenizer, limits)
    first = ids("[CLS] ada wrote it . [SEP] ada [SEP] who ? [SEP]")
    assert [row.tolist() for row in tokens.ids] == [
        first, ids("[CLS] ada [SEP] love love ##lace [SEP] who ? [SEP]"), first,
    ]  # fmt: skip
    assert kept == triples
    assert not skipped
    assert tokens.labels.tolist() == [0, 0, 0]
    assert tokens.ids[0].dtype == tokens.labels.dtype == np.int32
    tokens, _, _ = segments.encode_triples([good], tokenizer, limits, order="question_first")
    assert tokens.ids[0].tolist() == ids("[CLS] ada wrote it . [SEP] who ? [SEP] ada [SEP]")


def test_what_does_not_fit_is_counted_by_its_first_reason(tokenizer):
    limits = segments.Limits(2, 1, 1)
    triples = [
        squad.Triple("ada it .", "", "who ?"),  # empty goes before too long
        squad.Triple("ada it .", "ada ada", "who ?"),
        squad.Triple("ada it", "ada ada", "who ?"),
        squad.Triple("ada it", "ada", "who ?"),
        squad.Triple("ada it", "ada", "who"),
    ]
    _, kept, skipped = segments.encode_triples(triples, tokenizer, limits)
    assert kept == triples[-1:]
    assert skipped == dict.fromkeys(
        ("empty answer", "passage too long", "answer too long", "question too long"), 1
    )
    with pytest.raises(InputError, match=r"none of 1 triples is left: \{'question too long': 1\}"):
        segments.encode_triples(triples[3:4], tokenizer, limits)
    with pytest.raises(InputError, match="none of 0 triples is left: give more questions"):
        segments.encode_triples([], tokenizer, limits)


def test_passages_are_cut(tokenizer):
    found = segments.encode_passages(["ada wrote it", "ada"], tokenizer, 2)
    assert [row.tolist() for row in found.ids] == [ids("[CLS] ada wrote [SEP]"),
                                                  ids("[CLS] ada [SEP]")]  # fmt: skip
    assert found.labels.tolist() == [0, 0]


def test_which_tokens_are_kept(tokenizer):
    # Characters of the texts (a, w, ., ?) stay, alone and inside; ##b and 中 are in none.
    texts = ["who who who wrote", "wrote it it love . ? a"]
    keep = lambda size, **options: [
        VOCAB[i] for i in segments.keep_tokens(texts, tokenizer, vocab_size=size, **options)
    ]
    always = {*wordpiece.SPECIAL, "a", "##a", "w", ".", "?"}
    in_order = lambda *names: sorted({*always, *names}, key=VOCAB.index)
    assert keep(10) == in_order()
    assert keep(11) == in_order("who")
    assert keep(12) == in_order("who", "wrote")  # as often as "it", and before it
    assert keep(14) == keep(100) == in_order("who", "wrote", "it", "love")
    assert keep(100, min_count=2) == in_order("who", "wrote", "it")
    assert keep(100, min_count=3) == in_order("who")
    with pytest.raises(InputError, match=r"vocab_size is 9, .* of the texts are 10"):
        keep(9)
    assert segments.keep_tokens(texts, tokenizer, vocab_size=10).dtype == np.int32


def test_the_first_token_kept_is_padding(tmp_path):
    (tmp_path / "vocab.txt").write_text("who\n[UNK]\n[CLS]\n[SEP]\n[PAD]\n", encoding="utf8")
    other = wordpiece.load_tokenizer(tmp_path)
    keep = segments.keep_tokens(["who"], other, vocab_size=20)
    assert keep.tolist() == [4, 0, 1, 2, 3]
    reduced = segments.reduce_tokenizer(other, keep)
    assert reduced.get_vocab() == {"[PAD]": 0, "who": 1, "[UNK]": 2, "[CLS]": 3, "[SEP]": 4}
    assert reduced.encode("who").ids == [3, 1, 4]
    assert reduced.encode("who", "who").type_ids == [0, 0, 0, 1, 1]


def test_a_reduced_tokenizer_neither_pads_nor_cuts(tokenizer):
    import tokenizers

    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    copy.enable_padding(length=9)
    copy.enable_truncation(3)
    keep = [*range(5), ID["who"], ID["?"], ID["ada"]]
    reduced = segments.reduce_tokenizer(copy, keep)
    assert reduced.encode("Who? ADA lovelace").ids == [2, 5, 6, 7, 1, 3]
    # An older file has the post-processor of BERT itself.
    copy.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    reduced = segments.reduce_tokenizer(copy, [0, 1, ID["who"], 2, 3])
    assert reduced.encode("who").ids == [3, 2, 4]
    level = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0}, "[PAD]"))
    with pytest.raises(InputError, match="model is 'WordLevel', must be 'WordPiece'"):
        segments.reduce_tokenizer(level, [0])
    with pytest.raises(InputError, match=r"\[PAD\] becomes token None, must become 0"):
        segments.reduce_tokenizer(tokenizer, [1, 2])


def test_words_of_tokens(tokenizer):
    row = ids("[CLS] ##b ada love ##lace ##a [UNK] [SEP] 中 文 [PAD]")
    assert segments.words([*row, 99], tokenizer) == [
        "##b",
        "ada",
        "lovelacea",
        "[UNK]",
        "中",
        "文",
    ]
    assert segments.words([], tokenizer) == []
    assert segments.detokenize(row, tokenizer) == "##b ada lovelacea [UNK]中文"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("it ( the end ) , [ a ] { b } ; c : d !", "it (the end), [a] {b}; c: d!"),
        ("50 % of $ 3 # 7 £ 2 € 1 . ?", "50% of $3 #7 £2 €1.?"),
        ("it ' s he ’ ll ada ' s t ' x", "it's he’ll ada's t ' x"),
        ("don ' t they ' re i ' ve i ' d i ' m", "don't they're i've i'd i'm"),
        ("a - b - c – d / e - ?", "a-b-c–d/e -?"),
        ("1 , 000 . 5 , a", "1,000.5, a"),
        ("在 中 国 x 年 中", "在中国x年中"),
        ("sam ' said", "sam ' said"),
    ],
)
def test_readable_text(words, text, monkeypatch):
    monkeypatch.setattr(segments, "words", lambda ids, tokenizer: words.split())
    assert segments.detokenize([], None) == text


def test_the_first_place_of_a_span(tokenizer):
    passage = "It: Ada Lovelace, ada lovelace wrote"
    find = lambda text: segments.find_span(passage, ids(text), tokenizer)
    assert find("ada love ##lace") == (4, 16)
    assert find("it") == (0, 2)
    assert find("wrote") == (31, 36)  # the last token
    assert find("ada love ##lace wrote") == (18, 36)
    assert find("love ##lace ada") is None
    assert find("") is None
    assert segments.find_span("ada", ids("ada ada"), tokenizer) is None
    assert segments.find_span(passage, np.array(ids("love")), tokenizer) == (8, 12)


def test_where_spans_may_start_and_end(tokenizer):
    rows = np.array([ids("[CLS] love ##lace ada a ##a [SEP] [PAD]"),
                     ids("[CLS] [UNK] ada [MASK] love ##lace ##b [SEP]")])  # fmt: skip
    starts, ends = segments.span_bounds(rows, tokenizer)
    flags = lambda text: [x == "1" for x in text]
    assert starts.tolist() == [flags("01011000"), flags("01101000")]
    assert ends.tolist() == [flags("00110100"), flags("01100010")]
    last = np.array([ids("[CLS] ada")])  # a row's last token has none behind it
    assert segments.span_bounds(last, tokenizer)[1].tolist() == [[False, True]]
    # A token that begins the row does not decide for the last.
    wrapped = np.array([ids("##b ada")])
    assert segments.span_bounds(wrapped, tokenizer)[1].tolist() == [[True, True]]
