"""Products."""

import naive
import strategies as draws

import minigrad as mg
from cases.case import Case
from minigrad.ops import products


def einsum(*xs, subscripts):
    return mg.einsum(subscripts, *xs)


PLAIN_EINSUMS = [
    "ij,jk->ik", "ij->ji", "i,j->ij", "bij,bjk->bik", "ij,ij->", "ijk->j", "ij,jk,kl->il",
]  # fmt: skip


EINSUMS = [
    *PLAIN_EINSUMS, "ij,jk", "ij,j", "ii", "ii->i", "iii->i", "iij->j", "iji->ij", "i...",
    "...i->i...", "b...,b...->...", "...ij,...jk->...ik",
]  # fmt: skip


CASES = [
    # products
    Case(mg.matmul, naive.matmul, draws.factors()),
    Case(mg.linear, naive.linear, draws.affine()),
    Case(products._einsum, naive.einsum, draws.summed(PLAIN_EINSUMS)),
    Case(einsum, naive.einsum, draws.summed(EINSUMS)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}
