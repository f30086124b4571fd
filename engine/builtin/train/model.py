"""The llama architecture in a few lines of torch, as the Go runtime reads it."""
import torch
import torch.nn.functional as F

SHAPE = dict(vocab=2048, dim=256, layers=4, heads=8, kv_heads=2, ff=512, context=1024, eps=1e-5, rope=10000.0)


def rms(x, w, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * w


def rope_table(n, hd, base):
    angle = torch.arange(n, dtype=torch.float32)[:, None] * base ** (-torch.arange(0, hd, 2, dtype=torch.float32) / hd)
    return angle.cos(), angle.sin()


def rope(x, cos, sin):
    """Turns neighbouring pairs, as llama's GGUF files expect."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Llama(torch.nn.Module):
    def __init__(self, s=SHAPE):
        super().__init__()
        self.s, d, hd = s, s["dim"], s["dim"] // s["heads"]
        sizes = {"attn_q": (d, d), "attn_k": (s["kv_heads"] * hd, d), "attn_v": (s["kv_heads"] * hd, d), "attn_output": (d, d),
                 "ffn_gate": (s["ff"], d), "ffn_up": (s["ff"], d), "ffn_down": (d, s["ff"])}
        self.emb = torch.nn.Parameter(torch.randn(s["vocab"], d))
        self.norm = torch.nn.Parameter(torch.full((d,), 0.03))  # keeps the first logits small
        self.layers = torch.nn.ModuleList()
        for _ in range(s["layers"]):
            p = {n: torch.nn.Parameter(torch.randn(*z) * (0.0 if n in ("attn_output", "ffn_down") else z[1] ** -0.5)) for n, z in sizes.items()}
            p["attn_norm"], p["ffn_norm"] = torch.nn.Parameter(torch.ones(d)), torch.nn.Parameter(torch.ones(d))
            self.layers.append(torch.nn.ParameterDict(p))
        cos, sin = rope_table(s["context"], hd, s["rope"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def attend(self, w, x):
        s, (b, n, d) = self.s, x.shape
        hd, kv = d // s["heads"], s["kv_heads"]
        split = lambda y, h: y.view(b, n, h, hd).transpose(1, 2)
        q, k, v = split(x @ w["attn_q"].T, s["heads"]), split(x @ w["attn_k"].T, kv), split(x @ w["attn_v"].T, kv)
        cos, sin = self.cos[:n], self.sin[:n]
        q, k = rope(q, cos, sin) * hd ** -0.5, rope(k, cos, sin)
        k, v = (y.repeat_interleave(s["heads"] // kv, 1) for y in (k, v))
        mask = torch.full((n, n), float("-inf")).triu(1)
        a = ((q @ k.transpose(-1, -2)) + mask).softmax(-1)
        return (a @ v).transpose(1, 2).reshape(b, n, d) @ w["attn_output"].T

    def hidden(self, ids):
        x = self.emb[ids]
        for w in self.layers:
            x = x + self.attend(w, rms(x, w["attn_norm"], self.s["eps"]))
            h = rms(x, w["ffn_norm"], self.s["eps"])
            x = x + (F.silu(h @ w["ffn_gate"].T) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
        return rms(x, self.norm, self.s["eps"])

    def forward(self, ids):
        return self.hidden(ids) @ self.emb.T
