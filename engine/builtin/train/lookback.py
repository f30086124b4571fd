"""Gives a fresh model a first habit of looking back, which training then refines.

Copying a word needs two attention heads that make sense only together: one
that notes beside each token which token came before it, and a later one that
finds the earlier place where the present token stood and says what followed it
there. Neither is of use without the other, so training meets them late. Here
both are written down by hand, in half of the heads of the first two layers,
with random projections standing for "which token".
"""
import torch

NOTE, FIND = 0, 1  # layers
KV = 1             # key head that is used in both
LEVEL = 3.0        # of the stream's first number, which is the same for every token


@torch.no_grad()
def install(net, note=0.7, match=2.0, say=3.0, seed=1):
    s = net.s
    d, hd, per = s["dim"], s["dim"] // s["heads"], s["heads"] // s["kv_heads"]
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0].T
    basis[:, 0] = 0
    slot, what, copy = basis[:16], basis[16:32], basis[32:64]  # orthonormal rows
    net.emb[:, 0] = LEVEL
    keys = slice(KV * hd, KV * hd + hd)
    heads = [slice((KV * per + i) * hd, (KV * per + i + 1) * hd) for i in range(per)]

    w = net.layers[NOTE]
    clear(w, keys, heads)
    turn = s["rope"] ** (-torch.arange(0, hd, 2) / hd)
    a = (6 * hd ** 0.5 / (LEVEL ** 2 * (4 - turn[:4].cos().sum()))) ** 0.5
    for i in range(4):  # the quick pairs peak at a distance of one token, for the sibling heads at two, three, four
        w["attn_k"][keys.start + 2 * i, 0] = a * turn[i].cos()
        w["attn_k"][keys.start + 2 * i + 1, 0] = a * turn[i].sin()
        for n, h in enumerate(heads):
            w["attn_q"][h.start + 2 * i, 0] = a * (-n * turn[i]).cos()
            w["attn_q"][h.start + 2 * i + 1, 0] = a * (-n * turn[i]).sin()
    w["attn_v"][keys][:16] = what
    w["attn_output"][:, heads[0].start:heads[0].start + 16] = slot.T * note * 4

    w = net.layers[FIND]
    clear(w, keys, heads)
    strong = match * (10 * hd ** 0.5 / 16) ** 0.5
    w["attn_k"][keys.start + 16:keys.stop] = slot * strong / note / 4  # the slow pairs: what matters, not where
    for h in heads:
        w["attn_q"][h.start + 16:h.stop] = what * strong
        w["attn_output"][:, h] = copy.T * say
    w["attn_v"][keys] = copy


def clear(w, keys, heads):
    for n in ("attn_k", "attn_v"):
        w[n][keys] = 0
    for h in heads:
        w["attn_q"][h] = 0
        w["attn_output"][:, h] = 0
