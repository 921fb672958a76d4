"""What runs of word vectors share: every key of the functions that the sections feed.

data          jaxlab.data.corpus.load_corpus; `data.path` takes the place of `corpus`
Of a sweep (`SWEEP`):
  fit         jaxlab.models.skipgram.fit_counts; None stands for its default
  optimizer   jaxlab.optim.make_optimizer, with the rate and the steps of `fit`
Of negative sampling (`SAMPLING`):
  blocks      jaxlab.data.skipgram.SkipgramBlocks
  optimizer   jaxlab.optim.make_optimizer, with the rates of the run; a step is a block, its loss
              the sum over the pairs. Plain "sgd" moves only the rows of words that occur; any other
              optimizer, and penalties, move all of them at every block, which takes far longer
"""

from jaxlab import launch
from jaxlab.data.skipgram import SkipgramBlocks
from jaxlab.tasks import embeddings

SWEEP = {
    "fast_compile": False,
    "job": "sweep",
    "seeds": 3,
    "corpus": "english",  # or text files, folders, patterns, with commas between them
    "data": dict.fromkeys(embeddings.KEYWORDS["data"]),  # or a path, also of a table
    "share": 1.0,  # of the blocks of text; the rest is not used at all
    "window": 5,
    "held_out": 0.1,
    "block_tokens": 2000,
    "vocab_sizes": (),
    "dims": (),
    "fit": dict.fromkeys(embeddings.KEYWORDS["fit"]),
    "optimizer": dict.fromkeys(embeddings.OPTIMIZER) | embeddings.sweep.ADAM,
    "min_pairs": 50,  # judged word pairs in the vocabulary below which no correlation is given
}

SAMPLING = {
    "fast_compile": False,
    "job": "negative_sampling",
    "seed": 0,
    "corpus": "english",  # or text files, folders, patterns, with commas between them
    "data": dict.fromkeys(embeddings.KEYWORDS["data"]),  # or a path, also of a table
    "max_tokens": 0,  # of the corpus; 0 for all
    "min_count": 5,
    "max_words": None,  # of the vocabulary, the most frequent ones; None for all
    "dim": 100,
    "epochs": 5,
    "blocks": launch.defaults(SkipgramBlocks, but=("corpus", "seed")),
    "dtype": None,  # "bfloat16": of the products; vectors stay float32
    "num_negatives": 5.0,  # weight of the negatives: as if this many were drawn for each pair
    "learning_rate": 0.025,
    "final_learning_rate": 1e-4,
    "optimizer": dict.fromkeys(embeddings.OPTIMIZER) | embeddings.sampling.SGD,
    "log_every": 10,
    "eval_every": 0,  # batches between rank correlations; 0 for the last only
    "checkpoint_every": 36,
    "show": (),  # words whose neighbours are written
    "plane": (),  # groups of words in the picture
}
