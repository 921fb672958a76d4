"""BERT in Flax: the encoder, heads over it, and Hugging Face folders read and written.

model, params = load_pretrained(folder)
out = model.apply({"params": params}, input_ids, attention_mask=mask)
out.last_hidden_state, out.pooled  # [batch, length, hidden], [batch, hidden]
"""

from jaxlab.models.bert.attention import attention_mask, choose_attention, einsum_attention
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier, pool
from jaxlab.models.bert.model import LAYER_PREFIX, Bert, BertOutput, gelu
from jaxlab.models.bert.pretrained import load_heads, load_pretrained, save_pretrained

__all__ = [
    "LAYER_PREFIX",
    "Bert",
    "BertOutput",
    "MaskedLMHead",
    "SequenceClassifier",
    "attention_mask",
    "choose_attention",
    "einsum_attention",
    "gelu",
    "load_heads",
    "load_pretrained",
    "pool",
    "save_pretrained",
]
