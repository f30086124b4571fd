"""Byte-level BPE: trains the vocabulary and encodes text.

The splitting rule is the one that GGUF files call "qwen2" (single digits,
words with the space before them), so that other runtimes read the model too.
"""
import collections
import re

SPLIT = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?[^\W\d_]+|\d| ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|bos|>", "<|im_start|>", "<|im_end|>"]


def byte_letters():
    """The visible letter that stands for each byte in vocabulary files (GPT-2's table)."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    out, n = {}, 0
    for b in range(256):
        if b in keep:
            out[b] = chr(b)
        else:
            out[b] = chr(256 + n)
            n += 1
    return out


LETTER = byte_letters()


def letters(word):
    return [LETTER[b] for b in word.encode()]


def train(texts, size):
    """Returns the merges, best first, for a vocabulary of size tokens."""
    count = collections.Counter(w for t in texts for w in SPLIT.findall(t))
    words = [(letters(w), n) for w, n in sorted(count.items())]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (s, n) in enumerate(words):
        for p in zip(s, s[1:]):
            pairs[p] += n
            where[p].add(i)
    merges = []
    while len(merges) < size - 256 - len(SPECIAL):
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for i in sorted(where[best]):
            s, n = words[i]
            for p in zip(s, s[1:]):
                pairs[p] -= n
            t = merge(s, best)
            words[i] = (t, n)
            for p in zip(t, t[1:]):
                pairs[p] += n
                where[p].add(i)
        pairs = +pairs
    return merges


def merge(s, pair):
    out, i = [], 0
    while i < len(s):
        if i + 1 < len(s) and (s[i], s[i + 1]) == pair:
            out.append(s[i] + s[i + 1])
            i += 2
        else:
            out.append(s[i])
            i += 1
    return out


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.tokens = [LETTER[b] for b in range(256)] + [a + b for a, b in self.merges] + SPECIAL
        self.id = {t: i for i, t in enumerate(self.tokens)}
        self.bos, self.start, self.end = (self.id[s] for s in SPECIAL)
        self.cache = {}

    def word(self, w):
        if w not in self.cache:
            s = letters(w)
            while len(s) > 1:
                best = min(zip(s, s[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                s = merge(s, best)
            self.cache[w] = [self.id[x] for x in s]
        return self.cache[w]

    def encode(self, text):
        return [t for w in SPLIT.findall(text) for t in self.word(w)]

    def dialogue(self, turns):
        """Token ids in the ChatML form, and 1 for each token that the model has to say itself."""
        ids, said = [self.bos], [0]
        for role, text in turns:
            head = [self.start] + self.encode(role + "\n")
            body = self.encode(text) if role == "assistant" else []
            if role != "assistant":
                head = [self.start] + self.encode(role + "\n" + text)
            mine = 1 if role == "assistant" else 0
            ids += head + body + [self.end] + self.encode("\n")
            said += [0] * len(head) + [mine] * (len(body) + 1) + [0]
        return ids, said
