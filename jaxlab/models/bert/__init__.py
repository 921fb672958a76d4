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
from jaxlab.models.bert.generation import Pairs, answer, ask, generate_pairs
from jaxlab.models.bert.generation_loss import (
    TargetLayout,
    count_masked,
    count_targets,
    init_head,
    make_masked_loss,
    make_target_loss,
    make_target_metrics,
    normalize_step,
    per_token,
    reduce_vocabulary,
    target_nll,
    token_logits,
)
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier, pool
from jaxlab.models.bert.model import LAYER_PREFIX, Bert, BertOutput, gelu
from jaxlab.models.bert.objective import (
    apply_classifier,
    distillation_loss,
    make_distillation_loss,
    make_loss,
    make_metrics,
    make_replaced_metrics,
    make_replacing_loss,
    task_loss,
)
from jaxlab.models.bert.prefix import prefix_mask
from jaxlab.models.bert.pretrained import load_heads, load_pretrained, save_pretrained
from jaxlab.models.bert.replacing import apply_replaced, make_successor, num_gates
from jaxlab.models.bert.stages import (
    make_optimizer,
    make_stage_loss,
    plain_params,
    stage_mask,
    stage_params,
)

__all__ = [
    "LAYER_PREFIX",
    "Bert",
    "BertOutput",
    "Cache",
    "MaskedLMHead",
    "Pairs",
    "Prefix",
    "SequenceClassifier",
    "TargetLayout",
    "answer",
    "append_tokens",
    "apply_classifier",
    "apply_replaced",
    "ask",
    "attention_mask",
    "blocked_attention",
    "count_masked",
    "count_targets",
    "distillation_loss",
    "dot_attention",
    "einsum_attention",
    "empty_cache",
    "encode_prefix",
    "gelu",
    "generate_pairs",
    "init_head",
    "load_heads",
    "load_pretrained",
    "make_distillation_loss",
    "make_loss",
    "make_masked_loss",
    "make_metrics",
    "make_optimizer",
    "make_replaced_metrics",
    "make_replacing_loss",
    "make_stage_loss",
    "make_step",
    "make_successor",
    "make_target_loss",
    "make_target_metrics",
    "next_logits",
    "normalize_step",
    "num_gates",
    "per_token",
    "plain_params",
    "pool",
    "prefix_mask",
    "reduce_vocabulary",
    "save_pretrained",
    "stage_mask",
    "stage_params",
    "target_nll",
    "task_loss",
    "token_logits",
]
