#!/usr/bin/python3
"""Trains the demonstration model.

    train.py DIALOGUES.jsonl CHECKPOINT [--minutes 60 | --steps N] [--seed 1]

The learning rate falls to zero over the given minutes of wall clock (or over
the given steps, which makes the run repeatable). A checkpoint with the running
average of the weights is written every three minutes.
"""
import argparse
import json
import random
import time

import torch
import torch.nn.functional as F

import bpe
import lookback
import model


def batches(docs, rng, tokens):
    """Yields groups of documents of like length, about tokens long in all, for ever."""
    while True:
        order = sorted(rng.sample(docs, len(docs)), key=lambda d: (len(d[0]) + 15) // 16)
        groups, group = [], []
        for d in order:
            if group and (len(group) + 1) * len(d[0]) > tokens:
                groups.append(group)
                group = []
            group.append(d)
        groups.append(group)
        rng.shuffle(groups)
        yield from groups


def pad(group, rng):
    """Token rows and the flat positions to learn from: all that the model says, and a sixth of the rest."""
    n = max(len(ids) for ids, _ in group)
    rows = torch.zeros(len(group), n, dtype=torch.long)
    learn = []
    for i, (ids, said) in enumerate(group):
        rows[i, :len(ids)] = torch.tensor(ids)
        learn += [i * (n - 1) + j - 1 for j in range(1, len(ids)) if said[j] or rng.random() < 1 / 6]
    return rows, torch.tensor(learn)


def orthogonal(g):
    """Newton-Schulz steps towards the nearest matrix with orthogonal rows (the Muon optimiser)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.T if tall else x


class Muon:
    def __init__(self, params, momentum=0.95):
        self.params, self.momentum = params, momentum
        self.m = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, rate):
        for p, m in zip(self.params, self.m):
            m.mul_(self.momentum).add_(p.grad)
            u = orthogonal(p.grad + self.momentum * m)
            p.mul_(1 - rate * 0.1).add_(u, alpha=-rate * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dialogues")
    ap.add_argument("checkpoint")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--tokens", type=int, default=2560, help="per step")
    ap.add_argument("--seed", type=int, default=1)
    o = ap.parse_args()
    torch.manual_seed(o.seed)
    torch.set_num_threads(1)
    rng = random.Random(o.seed)

    talks = [json.loads(l) for l in open(o.dialogues, encoding="utf-8")]
    tok = bpe.Tokenizer(bpe.train([t for d in talks[:40000] for _, t in d], model.SHAPE["vocab"]))
    docs = [d for d in map(tok.dialogue, talks) if len(d[0]) <= model.SHAPE["context"]]
    held, docs = docs[:200], docs[200:]
    print(f"{len(docs)} dialogues, {sum(len(d[0]) for d in docs)} tokens", flush=True)

    net = model.Llama()
    lookback.install(net)
    matrices = [p for w in net.layers for p in w.values() if p.dim() == 2]
    rest = [p for p in net.parameters() if not any(p is q for q in matrices)]
    muon, adam = Muon(matrices), torch.optim.Adam([{"params": [p for p in rest if p.dim() == 2], "peak": 0.01}, {"params": [p for p in rest if p.dim() == 1], "peak": 0.002}], betas=(0.9, 0.95))
    average = {k: v.clone() for k, v in net.state_dict().items()}
    print(f"{sum(p.numel() for p in net.parameters())} parameters", flush=True)

    def save(step):
        torch.save({"weights": average, "merges": tok.merges, "shape": model.SHAPE, "step": step}, o.checkpoint)

    def held_loss():
        live = {k: v.clone() for k, v in net.state_dict().items()}
        net.load_state_dict(average)
        total, count = 0.0, 0
        with torch.no_grad():
            for d in held:
                ids = torch.tensor([d[0]])
                loss = F.cross_entropy(net(ids[:, :-1])[0], ids[0, 1:], reduction="none")
                mine = torch.tensor(d[1][1:]) == 1
                total, count = total + loss[mine].sum().item(), count + mine.sum().item()
        net.load_state_dict(live)
        return total / count

    began = saved = time.time()
    seen, recent, step = 0, 0.0, 0
    for group in batches(docs, rng, o.tokens):
        done = step / o.steps if o.steps else (time.time() - began) / (60 * o.minutes)
        if done >= 1:
            break
        factor = min(1, (step + 1) / 20) * (1 - done)
        rows, learn = pad(group, rng)
        h = net.hidden(rows[:, :-1]).reshape(-1, model.SHAPE["dim"])[learn]
        loss = F.cross_entropy(h @ net.emb.T, rows[:, 1:].reshape(-1)[learn])
        net.zero_grad()
        loss.backward()
        muon.step(0.02 * factor)
        for g in adam.param_groups:
            g["lr"] = g["peak"] * factor
        adam.step()
        step, seen = step + 1, seen + rows.numel()
        keep = min(0.98, 1 - 1 / (step + 1))
        with torch.no_grad():
            for k, v in net.state_dict().items():
                average[k].mul_(keep).add_(v, alpha=1 - keep)
        recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step} tokens {seen} minutes {(time.time() - began) / 60:.1f} loss {recent:.3f} rate {factor:.3f}", flush=True)
        if time.time() - saved > 180:
            save(step)
            print(f"step {step} held-out loss of answers {held_loss():.4f}", flush=True)
            saved = time.time()
    save(step)
    print(f"done: step {step} tokens {seen} minutes {(time.time() - began) / 60:.1f} held-out loss of answers {held_loss():.4f}", flush=True)


if __name__ == "__main__":
    main()
