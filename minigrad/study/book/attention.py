"""Attention by hand

A sentence is a matrix with a row of numbers for each word. The layers so far treat rows apart: no
word learns what its neighbours are. **Attention** is the op in which each row looks at all rows,
decides how much each of them matters, and takes a mean of what they offer.

It is two matrix products with a softmax between them. We write formulas and rules by hand. They
take the array module as `xp`, which is NumPy here and something else in the chapters to come.
"""

import functools
import math

import numpy as np

import minigrad as mg
from minigrad.study.pictures import heat

rng = np.random.default_rng(0)

"""
**Softmax** turns scores into weights that are positive and sum to one. Its formula in textbooks is
`exp(x) / sum(exp(x))`, and that overflows. But what is subtracted from all scores of a row cancels
out in the quotient. So we subtract the largest: then no exponential is above one.
"""


def softmax(xp, x):
    """Weights along the last axis of a matrix; a row of minus infinities gives zeros."""
    e = xp.exp(x - xp.maximum(xp.max(x, axis=1, keepdims=True), -1e30))
    return e / xp.maximum(xp.sum(e, axis=1, keepdims=True), 1.0)


x = np.array([[1000.0, 1001.0, 1002.0]])
with np.errstate(over="ignore", invalid="ignore"):
    print("textbook:", np.exp(x) / np.exp(x).sum(), "shifted:", softmax(np, x))

"""
(The two `maximum` are for a row of nothing but minus infinity, which we shall need. In any other
row the largest exponential is one, so the sum is at least one, and they change nothing.)

**Its rule.** The derivative of `y[i]` by `x[j]` is `y[i] * (1 - y[j])` for `i == j`, else
`-y[i] * y[j]`. Multiply by the gradient `g[i]` and sum over `i`: the matrix of derivatives is gone,
and one product and one sum a row are left. They need the output, and not the input.
"""


def softmax_grad(xp, g, y):
    """The gradient of the softmax's input from that of its output y."""
    return y * (g - xp.sum(g * y, axis=1, keepdims=True))


"""
**Scores.** Each word asks with a row of `q` (query), offers itself with a row of `k` (key), and
hands out a row of `v` (value). The score of a query for a key is their product. A sum of D products
of random numbers grows like the root of D, and a softmax of large scores is nearly one-hot, with a
gradient of nearly zero. So scores are divided by that root.
"""

for D in (4, 64, 1024):
    spread = np.std(rng.normal(size=(100, D)) @ rng.normal(size=(D, 100)))
    print(f"D = {D:4}: scores spread by {spread:4.1f}; divided, by {spread / math.sqrt(D):.2f}")

"""
The **mask** says which keys a query may see. The others get a score of minus infinity, and so a
weight of exactly zero. A model that writes word by word must not see words to come: its mask is a
lower triangle. Row by row, the picture shows what each query looks at.
"""


def weights(xp, q, k, mask):
    """(T, S): how much each query q (T, D) takes of each key k (S, D)."""
    scores = xp.matmul(q, xp.transpose(k)) * (1 / math.sqrt(q.shape[1]))
    return softmax(xp, xp.where(mask, scores, -math.inf))


def attention(xp, q, k, v, mask):
    """(T, E): for each query the weighted mean of the values v (S, E)."""
    return xp.matmul(weights(xp, q, k, mask), v)


q, k, v, g = rng.normal(size=(4, 8, 16))
causal = np.tri(8, dtype=bool)
heat(weights(np, q, k, causal), title="weights: a row a query, a column a key")

"""
**The rule** walks the formula backwards. Through `y = p @ v` go `g @ v.T` to the weights and
`p.T @ g` to the values; then the softmax's rule; then the product with the keys. The weights `p`
are computed anew from `q` and `k`: nothing of size (T, S) is kept from the forward pass.
"""


def attention_grad(xp, g, q, k, v, mask):
    """The gradients of q, k and v from that of the output."""
    p = weights(xp, q, k, mask)
    ds = softmax_grad(xp, xp.matmul(g, xp.transpose(v)), p) * (1 / math.sqrt(q.shape[1]))
    return xp.matmul(ds, k), xp.matmul(xp.transpose(ds), q), xp.matmul(xp.transpose(p), g)


ours = attention(np, q, k, v, causal), *attention_grad(np, g, q, k, v, causal)
y, pull = mg.vjp(functools.partial(mg.scaled_dot_product_attention, attn_mask=causal), q, k, v)
for name, a, b in zip(("y", "dq", "dk", "dv"), ours, (y, *pull(g)), strict=True):
    print(f"{name} differs from minigrad's by {np.abs(a - b).max():.0e}")

"""
**Heads.** One mean a word is little: a verb wants its subject and its object. So the columns are
cut into heads, each an attention of its own. Here a loop does it; the next chapter removes it.
"""


def with_heads(q, k, v, mask, heads):
    """(T, H*E): attention of each head of q (T, H*D), k (S, H*D) and v (S, H*E)."""
    parts = zip(*(np.split(x, heads, axis=1) for x in (q, k, v)), strict=True)
    return np.concatenate([attention(np, *part, mask) for part in parts], axis=1)


theirs = mg.attention(q[None], k[None], v[None], heads=4, causal=True)[0]
print(f"4 heads: off by {np.abs(with_heads(q, k, v, causal, 4) - theirs).max():.0e}")

"""
**In parts.** The matrix of weights grows with the square of the length. But a query's row needs no
other row. So 16 queries at a time give the same output, and their rule gives their part of `dk` and
`dv`, which are summed up. The whole matrix need never exist, forward or backward.
"""


def attention_grad_in_parts(g, q, k, v, mask, rows=16):
    dq, dk, dv = (np.zeros_like(x) for x in (q, k, v))
    for part in (slice(i, i + rows) for i in range(0, len(q), rows)):
        dq[part], *others = attention_grad(np, g[part], q[part], k, v, mask[part])
        dk, dv = dk + others[0], dv + others[1]
    return dq, dk, dv


off = zip(ours[1:], attention_grad_in_parts(g, q, k, v, causal, rows=3), strict=True)
print(f"3 queries at a time: off by {max(np.abs(a - b).max() for a, b in off):.0e}")
for n in (512, 2048, 8192):
    print(f"length {n}: {4e-6 * n * n:5.1f} MB of weights in float32, or {64e-6 * n:.2f} MB")

"""
**What the real one does.** [[minigrad.ops.attentions.attention]] has this formula for a batch of
sentences and all heads. Its masks hold booleans, or numbers to add. It has dropout on the weights,
drawn again in the backward pass instead of being kept. [[minigrad.ops.attentions.attention_grad]]
is itself an op made of ops, and can be differentiated again. The kernel
[[minigrad.kernels.attention.attention_loop]] takes 16 queries at a time, one in each lane of a
vector, and skips what a causal mask hides. [[minigrad.nn.attention.MultiheadAttention]] adds the
projections that make q, k and v.
"""
