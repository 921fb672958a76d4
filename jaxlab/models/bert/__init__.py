"""BERT in Flax: the encoder, heads over it, and Hugging Face folders read and written.

model, params = load_pretrained(folder)
out = model.apply({"params": params}, input_ids, attention_mask=mask)
out.last_hidden_state, out.pooled  # [batch, length, hidden], [batch, hidden]
"""

from jaxlab.models.bert.attention import (
    attention_mask,
    blocked_attention,
    dot_attention,
    einsum_attention,
)
from jaxlab.models.bert.cache import (
    Cache,
    Prefix,
    append_tokens,
    empty_cache,
    encode_prefix,
    make_step,
    next_logits,
)
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier, pool
from jaxlab.models.bert.masked_lm import (
    count_masked,
    init_head,
    make_masked_loss,
    normalize_step,
    reduce_vocabulary,
    token_logits,
)
from jaxlab.models.bert.model import LAYER_PREFIX, Bert, BertOutput, gelu
from jaxlab.models.bert.objective import apply_classifier, make_loss, make_metrics, task_loss
from jaxlab.models.bert.prefix import prefix_mask
from jaxlab.models.bert.pretrained import load_heads, load_pretrained, save_pretrained
from jaxlab.models.bert.start import (
    find_folder,
    folder_weights,
    load_classifier,
    match_labels,
    model_folder,
)

__all__ = [
    "LAYER_PREFIX",
    "Bert",
    "BertOutput",
    "Cache",
    "MaskedLMHead",
    "Prefix",
    "SequenceClassifier",
    "append_tokens",
    "apply_classifier",
    "attention_mask",
    "blocked_attention",
    "count_masked",
    "dot_attention",
    "einsum_attention",
    "empty_cache",
    "encode_prefix",
    "find_folder",
    "folder_weights",
    "gelu",
    "init_head",
    "load_classifier",
    "load_heads",
    "load_pretrained",
    "make_loss",
    "make_masked_loss",
    "make_metrics",
    "make_step",
    "match_labels",
    "model_folder",
    "next_logits",
    "normalize_step",
    "pool",
    "prefix_mask",
    "reduce_vocabulary",
    "save_pretrained",
    "task_loss",
    "token_logits",
]
