"""Softmax, normalisation, attention, dropout."""

import naive
import strategies as draws

import minigrad as mg
from cases.case import Case

SDPA = mg.scaled_dot_product_attention

CASES = [
    # softmax, normalisation, losses, attention
    Case(mg.softmax, naive.softmax, draws.lines()),
    Case(mg.softmax_grad, naive.softmax_grad, draws.lines(2)),
    Case(mg.log_softmax, naive.log_softmax, draws.lines()),
    Case(mg.log_softmax_grad, naive.log_softmax_grad, draws.lines(2)),
    Case(mg.layer_norm, naive.layer_norm, draws.normalised()),
    Case(mg.layer_norm_grad, naive.layer_norm_grad, draws.normalised(True)),
    Case(mg.cross_entropy_rows, naive.cross_entropy_rows, draws.classified()),
    Case(mg.cross_entropy_rows_grad, naive.cross_entropy_rows_grad, draws.classified(True)),
    Case(mg.cross_entropy, naive.cross_entropy, draws.classified_anywhere()),
    Case(mg.attention, naive.attention, draws.attended()),
    Case(mg.attention_grad, naive.attention_grad, draws.attended(True)),
    Case(mg.attention_mask_grad, naive.attention_mask_grad, draws.attended(True)),
    Case(SDPA, naive.scaled_dot_product_attention, draws.attended_anywhere()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}
