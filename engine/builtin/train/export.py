#!/usr/bin/python3
"""Writes a checkpoint as a GGUF file with q8_0 weights, and the test data that
shows what torch computes from the very same weights.

    export.py CHECKPOINT MODEL.gguf TESTDATA.json
"""
import json
import struct
import sys

import numpy as np
import torch

import bpe
import model

NAME = "cocoon-demo-3m"
CHATML = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
ALIGN = 32
STRIDE = 16  # of the logits that go into the test data


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    if isinstance(v[0], str):
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    return struct.pack("<IIQ", 9, 5, len(v)) + struct.pack(f"<{len(v)}i", *v)


def q8(w):
    """Blocks of 32 numbers: an f16 scale and 32 signed bytes. Also returns what they mean."""
    b = w.numpy().astype(np.float32).reshape(-1, 32)
    scale = (np.abs(b).max(1, keepdims=True) / 127).astype(np.float16)
    wide = scale.astype(np.float32)
    q = np.clip(np.rint(b / np.where(wide == 0, 1, wide)), -127, 127).astype(np.int8)
    raw = np.concatenate([scale.view(np.uint8), q.view(np.uint8)], 1).tobytes()
    return raw, torch.from_numpy((q * wide).reshape(w.shape))


def metadata(tok, s):
    head = s["dim"] // s["heads"]
    return {
        "general.architecture": "llama", "general.name": NAME, "general.alignment": ALIGN, "general.file_type": 7,
        "general.license": "Apache-2.0", "general.description": "Demonstration model of Cocoon, trained on text written for it.",
        "llama.block_count": s["layers"], "llama.context_length": s["context"], "llama.embedding_length": s["dim"],
        "llama.feed_forward_length": s["ff"], "llama.attention.head_count": s["heads"], "llama.attention.head_count_kv": s["kv_heads"],
        "llama.attention.layer_norm_rms_epsilon": s["eps"], "llama.rope.freq_base": s["rope"], "llama.rope.dimension_count": head,
        "llama.vocab_size": s["vocab"],
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": tok.tokens,
        "tokenizer.ggml.token_type": [3 if t in bpe.SPECIAL else 1 for t in tok.tokens],
        "tokenizer.ggml.merges": [a + " " + b for a, b in tok.merges],
        "tokenizer.ggml.bos_token_id": tok.bos, "tokenizer.ggml.eos_token_id": tok.end, "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": CHATML,
    }


def tensors(net):
    """GGUF's names for the weights; matrices are replaced in net by what q8_0 keeps of them."""
    def matrix(p):
        raw, kept = q8(p.data)
        p.data = kept
        return (p.shape[1], p.shape[0]), 8, raw

    def vector(p):
        return (p.shape[0],), 0, p.data.numpy().astype("<f4").tobytes()

    yield "token_embd.weight", *matrix(net.emb)
    yield "output_norm.weight", *vector(net.norm)
    for i, w in enumerate(net.layers):
        for n, p in w.items():
            yield f"blk.{i}.{n}.weight", *(matrix(p) if p.dim() == 2 else vector(p))


def write(path, meta, items):
    items = list(items)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(items), len(meta)))
    for k, v in meta.items():
        out += text(k) + value(v)
    offset = 0
    for name, dims, kind, raw in items:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)
        offset += -(-len(raw) // ALIGN) * ALIGN
    out += bytes(-len(out) % ALIGN)
    for _, _, _, raw in items:
        out += raw + bytes(-len(raw) % ALIGN)
    with open(path, "wb") as f:
        f.write(out)


PROMPTS = ["Hello", "What is Cocoon?", "Why is the sky blue?", "Write a haiku", "What is 2+2?",
           "Summarise: Ann and Ben met on Monday to talk about the budget. They agreed to sell the old piano by Friday."]
TEXTS = ["", " ", "Hello", "Hello, world!", "  two  spaces ", "It's we'll THEY'RE don't 'x", "a\n\n b\r\n\tc  \n", "12345 x9 1,000.5", "naïve café Brasília",
         "你好, мир! こんにちは", "a_b __init__ #!? ...", "🙂 👩‍👩‍👧 e\u0301", "What is Cocoon?", "```go\nfunc main() {\n\tfmt.Println(\"hi\")\n}\n```", "<|im_end|> is text here", " \u00a0x\u2028y", "ünïcödé" * 40]


def testdata(net, tok):
    out = {"texts": [{"text": t, "tokens": tok.encode(t)} for t in TEXTS], "answers": []}
    for p in PROMPTS:
        ids, _ = tok.dialogue([["user", p]])
        prompt = ids + [tok.start] + tok.encode("assistant\n")
        ids = list(prompt)
        with torch.no_grad():
            first = net(torch.tensor([ids]))[0, -1]
            while ids[-1] != tok.end and len(ids) < len(prompt) + 80:
                ids.append(int(net(torch.tensor([ids]))[0, -1].argmax()))
        answer = bytes(b for t in ids[len(prompt):] if t < tok.bos for b in token_bytes(tok, t)).decode()
        out["answers"].append({"prompt": p, "tokens": prompt, "logits": [round(x, 4) for x in first[::STRIDE].tolist()], "answer": answer})
        print(repr(p), "->", repr(answer))
    return out


def token_bytes(tok, t):
    back = {c: b for b, c in bpe.LETTER.items()}
    return [back[c] for c in tok.tokens[t]]


def main():
    checkpoint, path, data = sys.argv[1:4]
    saved = torch.load(checkpoint)
    tok = bpe.Tokenizer(saved["merges"])
    net = model.Llama(saved["shape"])
    net.load_state_dict(saved["weights"])
    write(path, metadata(tok, saved["shape"]), tensors(net))
    with open(data, "w", encoding="utf-8") as f:
        json.dump(testdata(net, tok), f, ensure_ascii=False)
        f.write("\n")


if __name__ == "__main__":
    main()
