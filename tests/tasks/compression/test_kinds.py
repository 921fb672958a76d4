"""What a stage holds, and what it trains."""

from jaxlab.tasks.compression.kinds import KINDS, plain_params, stage_mask, stage_params

START = {"bert": {"embeddings": 1.0, "layers_0": 2.0, "pooler": 3.0}, "head": 4.0}
DEEP = {"bert": {**START["bert"], "layers_1": 5.0}, "head": 6.0}


def test_which_parts_each_kind_holds_and_trains():
    for kind in ("predecessor", "direct", "truncated", "successor"):
        assert stage_params(kind, START, DEEP) == START
        assert plain_params(kind, START) == START
    for kind in set(KINDS) - {"replacing"}:
        params = stage_params(kind, START, DEEP)
        for trainable, chosen in {
            "all": ("embeddings", "layers_0", "pooler", "head"),
            "layers": ("layers_0",),
            "layers+head": ("layers_0", "head"),
        }.items():
            chosen = ("layers_0",) if kind == "truncated" else chosen
            mask = stage_mask(kind, params, trainable)
            body = {name: name in chosen for name in START["bert"]}
            assert mask["bert"] == body
            assert mask["head"] == ("head" in chosen)
    mask = stage_mask("truncated", START, own_embeddings=True)
    assert mask["bert"] == {"embeddings": True, "layers_0": True, "pooler": False}
    shared = stage_params("replacing", START, DEEP)
    assert shared == {
        "predecessor": DEEP["bert"], "successor": {"layers_0": 2.0}, "head": START["head"],
    }  # fmt: skip
    assert plain_params("replacing", shared) == START
