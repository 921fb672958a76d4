"""How many pairs of questions and answers a trained model writes per second."""

from collections.abc import Iterator, Sequence

import jax
from etils import epath

from jaxlab import timing
from jaxlab.data.questions import segments
from jaxlab.data.questions.squad import read_squad
from jaxlab.tasks.question_generation import texts
from jaxlab.tasks.question_generation.folder import load_generator


def time_pairs(
    workdir: epath.Path,
    path: str,
    pairs: int,
    repeats: int,
    *,
    batches: Sequence[int],
    beams: Sequence[int],
) -> Iterator[str]:
    """A line per beam size and batch size: pairs and tokens per second, answers bound to passages.

    Args:
      workdir: of a run of question generation.
      path: file in SQuAD's format, for its passages.
      pairs: per passage.
      repeats: timed calls; the median counts.
      batches: passages at once.
      beams: beam sizes of the question.
    """
    generator = load_generator(workdir / "model")
    limit = generator.limits.passage
    found = list(dict.fromkeys(record.passage for record in read_squad(path)))[: max(batches)]
    passages = [text for _, text in texts.cut_texts(generator, found)][: max(batches)]
    tokens = segments.encode_passages(passages, generator.tokenizer, limit)
    for size in beams:
        run = texts.make_generate(
            generator, num_pairs=pairs, spans_only=True, top_p=0.95, beam_size=size
        )
        for batch in batches:
            ids = texts.pad_rows(tokens.ids[:batch], limit + 2)
            bounds = segments.span_bounds(ids, generator.tokenizer)
            keys = jax.random.split(jax.random.key(0), len(ids))
            call = lambda run=run, args=(ids, keys, *bounds): jax.block_until_ready(
                run(generator.params, *args)
            )
            drawn = call()
            written = int(drawn.answers.lengths.sum() + drawn.questions.lengths.sum())
            seconds = timing.medians({"": call}, repeats)[""]
            yield (
                f"batch {len(ids)}, {size} beams: {len(ids) * pairs / seconds:.1f} pairs/s, "
                f"{written / seconds:.0f} tokens/s"
            )
