#!/usr/bin/python3
"""Expands dialogues.txt, tables.txt and words.txt into training dialogues.

    corpus.py N SEED [DETAIL DRILL] > dialogues.jsonl      one dialogue per line, a list of [role, text]

DETAIL is the share of turns whose answer depends on a word of the question (a
table, a sum, a summary), if it shall be more than comes by itself; DRILL the
share of dialogues that only copy words, from which the model learns to look
back. The same arguments give the same bytes. The tasks whose answers have to be
computed (sums, summaries, drafts, counting) are functions here; everything
that is merely said stands in dialogues.txt.
"""
import json
import os
import random
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def lines(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return [l.rstrip("\n") for l in f if l.strip() and not l.startswith("#")]


def load_words():
    return {k: v.split() for k, v in (l.split(": ", 1) for l in lines("words.txt"))}


def load_tables():
    tables, name = {}, None
    for l in lines("tables.txt"):
        if l.startswith("table "):
            _, name, *cols = l.split()
            tables[name] = []
        else:
            row = l.split(" ; ")
            assert len(row) == len(cols), l
            tables[name].append(dict(zip(cols, row)))
    return tables


def load_topics():
    macros, topics = {}, []
    for l in lines("dialogues.txt"):
        if l.startswith("let "):
            name, text = l[4:].split(" = ", 1)
            macros[name] = text
        elif l.startswith("topic "):
            w = l.split()
            opt = dict(zip(w[2::2], w[3::2]))
            topics.append({"name": w[1], "weight": float(opt.get("weight", 1)), "use": opt.get("use"), "Q": [], "A": [], "M": []})
        else:
            topics[-1][l[0]].append(l[3:])
    for t in topics:
        for k in "QAM":
            t[k] = [re.sub(r"\$(\w+)", lambda m: macros[m.group(1)], s) for s in t[k]]
    return topics


WORDS, TABLES, TOPICS = load_words(), load_tables(), load_topics()


class Expander:
    """Picks one reading of a template. State: position in the text."""

    def __init__(self, rng, row):
        self.rng, self.row = rng, row

    def text(self, s):
        out, i = self.seq(s, 0, False)
        assert i == len(s), s
        return out

    def seq(self, s, i, nested):
        out = []
        while i < len(s):
            c = s[i]
            if c == "\\":
                out.append({"n": "\n", "t": "\t"}.get(s[i + 1], s[i + 1]))
                i += 2
            elif nested and c in "|]":
                break
            elif c == "[":
                t, i = self.choice(s, i + 1)
                out.append(t)
            else:
                m = re.match(r"\{(\w+)\}", s[i:])
                if m and m.group(1) in self.row:
                    out.append(self.row[m.group(1)])
                    i += m.end()
                else:
                    out.append(c)
                    i += 1
        return "".join(out), i

    def choice(self, s, i):
        alts = []
        while True:
            t, i = self.seq(s, i, True)
            alts.append(t)
            i += 1
            if s[i - 1] == "]":
                return self.rng.choice(alts), i


def made_up(r):
    w = "".join(r.choice(WORDS["syllables"]) for _ in range(r.randint(2, 4)))
    return w.capitalize() if r.random() < 0.6 else w


def noun(r):
    return made_up(r) if r.random() < 0.25 else r.choice(WORDS["nouns"])


def phrase(r):
    kind = r.random()
    if kind < 0.25:
        return r.choice([made_up(r), r.choice(WORDS["nouns"]), r.choice(WORDS["names"]), str(r.randint(0, 9999)), r.choice(["OK", "yes", "no", "hello", "done", "hi", "ready", "READY", "banana", "it works"])])
    if kind < 0.5:
        return "the " + r.choice(WORDS["adjectives"]) + " " + noun(r)
    if kind < 0.75:
        return " ".join(r.choice([noun(r), r.choice(WORDS["adjectives"]), r.choice(WORDS["verbs"]), made_up(r), r.choice(WORDS["names"])]) for _ in range(r.randint(2, 6)))
    return r.choice(WORDS["names"]) + " will " + r.choice(WORDS["verbs"]) + " the " + r.choice(WORDS["adjectives"]) + " " + noun(r) + r.choice(["", " on " + r.choice(WORDS["days"]), "."])


def noise(r):
    kind = r.random()
    if kind < 0.5:
        return "".join(r.choice("asdfjklqwertzuiopghyxcvbnm") for _ in range(r.randint(3, 9)))
    if kind < 0.7:
        return r.choice(["?", "...", "!!!", "??", "...?", ".", "hmm", "uh", "eh", ",", "-", "#", "a", "x", "b", "1", "0"])
    return " ".join(made_up(r) for _ in range(r.randint(1, 3)))


def row_for(r, use):
    if use == "names":
        return {"n1": r.choice(WORDS["names"]) if r.random() < 0.7 else made_up(r).capitalize()}
    if use == "unknowns":
        return {"u": noun(r), "u2": noun(r), "uv": r.choice(WORDS["verbs"])}
    if use == "phrases":
        return {"ph": phrase(r)}
    if use == "noise":
        return {"noise": noise(r)}
    return r.choice(TABLES[use]) if use else {}


def from_topic(r, t):
    e = Expander(r, row_for(r, t["use"]))
    turns = [["user", e.text(r.choice(t["Q"]))], ["assistant", cap(e.text(r.choice(t["A"])).strip(), t)]]
    if t["M"] and r.random() < 0.3:
        turns += [["user", r.choice(["Tell me more", "More", "Go on", "Tell me more about it", "Explain more", "Can you say more", "And then", "More details please", "Why is that", "Continue"]) + r.choice(["", ".", "?"])], ["assistant", e.text(r.choice(t["M"]))]]
    return turns


def cap(s, t):
    return s if t["name"] in ("repeat", "json") else s[:1].upper() + s[1:]


# ---- answers that are computed -------------------------------------------------

def sums(r):
    op = r.choice("++-*")
    hard = r.random() < 0.12
    a, b = (r.randint(13, 9999), r.randint(2, 999)) if hard else (r.randint(0, 12), r.randint(0, 12))
    if not hard and r.random() < 0.2:
        a, b = r.choice([(2, 2), (1, 1), (2, 3), (3, 5), (7, 8), (6, 7), (10, 5), (12, 4)])
    if op == "-" and a < b:
        a, b = b, a
    v = {"+": a + b, "-": a - b, "*": a * b}[op]
    word = {"+": ["+", "plus", " + "], "-": ["-", "minus", " - "], "*": ["*", "times", " x ", " * "]}[op]
    w = r.choice(word)
    expr = f"{a} {w} {b}" if w.isalpha() else f"{a}{w}{b}"
    q = r.choice(["What is {}?", "{}", "{}?", "{} =", "{}=?", "How much is {}?", "Calculate {}", "Compute {}.", "What's {}?", "Solve {}", "Tell me what {} is"])
    sign = {"+": "+", "-": "-", "*": "x"}[op]
    said = "Such numbers are too large for a small demonstration model. A calculator is the better tool." if hard else f"{a} {sign} {b} = {v}."
    return [["user", q.format(expr)], ["assistant", said]]


def counting(r):
    n = r.choice([3, 4, 5, 5, 5, 6, 7, 8, 10, 10, 10])
    if r.random() < 0.25:
        q = r.choice(["Count down from {n}", "Count backwards from {n}", "Count from {n} to 1"])
        seq = range(n, 0, -1)
    else:
        q = r.choice(["Count to {n}", "Count from 1 to {n}", "Can you count to {n}?", "Please count to {n}.", "List the numbers from 1 to {n}", "Count up to {n}", "Numbers 1 to {n}"])
        seq = range(1, n + 1)
    return [["user", q.format(n=n)], ["assistant", ", ".join(map(str, seq)) + "."]]


def compare(r):
    a, b = r.sample(range(1, 21), 2)
    q = r.choice(["Which is larger, {a} or {b}?", "Which is bigger: {a} or {b}?", "Is {a} or {b} larger?", "What is more, {a} or {b}?"])
    return [["user", q.format(a=a, b=b)], ["assistant", f"{max(a, b)} is larger than {min(a, b)}."]]


THINGS = ["the budget", "the new office", "the summer party", "the release", "the contract", "the delivery", "the website", "the training", "the trip to Rome", "the broken lift", "the offer", "the survey", "the test results", "the new plan", "the price list", "the hiring"]
ASK = ["Summarise: ", "Summarize: ", "Summarise this: ", "Summarize this: ", "Please summarise: ", "Summarise the following text: ", "Summarize the following: ", "Give me a summary: ", "Summary of: ", "TL;DR: ", "Shorten this: ", "Summarise this text:\n", "Can you summarise this? ", "Summarise in one sentence: ", "Summarize the following text in one sentence:\n\n"]
FILLER = ["The weather was fine.", "Everybody was in a good mood.", "There was coffee and cake.", "It took about an hour.", "The room was rather small.", "Nobody had expected it.", "Some came late.", "A few questions stayed open.", "The details follow next week.", "Others agreed.", "It was not the first time.", "Most people were content."]


def meeting(r):
    a, b = r.sample(WORDS["names"], 2)
    day, until = r.sample(WORDS["days"], 2)
    thing, verb, obj = r.choice(THINGS), r.choice(WORDS["verbs"]), noun(r)
    first = r.choice([f"{a} and {b} met on {day} to talk about {thing}.", f"On {day} {a} met {b} to talk about {thing}.", f"{a} called {b} on {day} about {thing}."])
    then = r.choice([f"They agreed to {verb} the {obj} by {until}.", f"They decided to {verb} the {obj} before {until}.", f"They want to {verb} the {obj} until {until}."])
    body = [first] + r.sample(FILLER, r.randint(0, 2)) + [then] + r.sample(FILLER, r.randint(0, 1))
    return " ".join(body), f"In short: {a} and {b} talked about {thing} on {day} and will {verb} the {obj} by {until}."


def figures(r):
    who = r.choice(["The company", "The shop", "The factory", "The school", "The team", "Our group", "The network", made_up(r)])
    n, p, y = r.randint(2, 900), r.randint(2, 90), r.randint(2015, 2026)
    what = r.choice(["customers", "orders", "visitors", "machines", "students", "users", "workers"])
    dirn = r.choice(["more", "fewer"])
    body = [f"{who} had {n} {what} in {y}.", f"That is {p} percent {dirn} than the year before."]
    body += r.sample(FILLER, r.randint(0, 2))
    return " ".join(body), f"In short: {who[0].lower() + who[1:] if who.startswith(('The', 'Our')) else who} had {n} {what} in {y}, {p} percent {dirn} than before."


def sentence(r):
    n = lambda: r.choice(["the ", "a "]) + (r.choice(WORDS["adjectives"]) + " " if r.random() < 0.5 else "") + noun(r)
    s = r.choice([
        f"{r.choice(WORDS['names'])} wants to {r.choice(WORDS['verbs'])} {n()}",
        f"{n()} can {r.choice(WORDS['verbs'])} {n()}",
        f"{n()} is {r.choice(WORDS['adjectives'])} and {r.choice(WORDS['adjectives'])}",
        f"people {r.choice(WORDS['verbs'])} {n()} near {n()}",
        f"on {r.choice(WORDS['days'])} we {r.choice(WORDS['verbs'])} {n()}",
        f"in {r.randint(1200, 2026)} {r.choice(WORDS['names'])} found {n()} near {made_up(r).capitalize()}",
        f"scientists found that {n()} is {r.choice(WORDS['adjectives'])}",
    ])
    return s[0].upper() + s[1:] + "."


PLAIN = [t for t in TOPICS if t["use"] is None and t["name"] not in ("repeat",) and "code" not in t["name"]]


def prose(r):
    """Any text of several sentences; its summary is its first sentence."""
    if r.random() < 0.45:
        a = Expander(r, {}).text(r.choice(r.choice(PLAIN)["A"]))
        parts = re.split(r"(?<=[.!?]) ", a.replace("\n", " "))
        if r.random() < 0.5:
            parts += [sentence(r)]
    else:
        parts = [sentence(r) for _ in range(r.randint(2, 5))]
    first = parts[0].rstrip(",;:")
    return " ".join(parts), "In short: " + first


def summarise(r):
    text, short = r.choice([meeting, figures, prose, prose])(r)
    if r.random() < 0.2:
        text = '"' + text + '"'
    ask = r.choice(ASK)
    q = ask + text if r.random() < 0.85 else text + "\n\n" + ask.strip().rstrip(":") + "."
    return [["user", q], ["assistant", short]]


REASONS = [
    ("I will be late", "I will be a little late today. Please start without me."),
    ("I am ill", "I am ill today and cannot come. I will be back as soon as I can."),
    ("I cannot come to the meeting", "I am sorry, but I cannot come to the meeting. Could you send me the notes?"),
    ("the meeting is moved", "Our meeting has been moved. I will send you the new time soon."),
    ("thank you for the help", "Thank you very much for your help. It made a real difference."),
    ("happy birthday", "Happy birthday! I wish you a good year with much joy."),
    ("congratulations", "Congratulations! You have worked hard for this, and I am happy for you."),
    ("the report is ready", "The report is ready. Please have a look and tell me what you think."),
    ("I need more time", "I need a little more time for this. Would the end of the week be all right?"),
    ("please pay the invoice", "This is a friendly reminder that our invoice is still open. Thank you for looking after it."),
    ("I am sorry", "I am sorry for what happened. I hope that we can put it right together."),
    ("let us have lunch", "Would you like to have lunch together this week? Tell me which day suits you."),
    ("welcome to the team", "Welcome to the team! Ask us anything, we are glad that you are here."),
    ("I want to resign", "I have decided to leave my position. Thank you for the time that we worked together."),
    ("the delivery is late", "Our delivery will be late. We are sorry and will tell you the new date."),
    ("I am on holiday", "I am on holiday this week and will answer when I am back."),
    ("can we meet", "Could we meet this week? Half an hour would be enough."),
    ("good luck", "Good luck! I am sure that you will do well."),
]
WHOM = ["my boss", "my team", "a friend", "my colleague", "a customer", "my teacher", "my landlord", "my neighbour", "the support", "my mother"]


def draft(r):
    why, text = r.choice(REASONS)
    name = r.choice(WORDS["names"]) if r.random() < 0.7 else ""
    to = name or r.choice(WHOM)
    kind = r.choice(["message", "email", "short message", "short email", "note", "letter", "polite message", "text message"])
    art = "an" if kind[0] == "e" else "a"
    q = r.choice(["Draft", "Write", "Please draft", "Please write", "Can you write", "Compose", "Help me write"]) + f" {art} {kind} to {to}: {why}"
    if r.random() < 0.5:
        q = q.replace(": ", r.choice([" saying that ", " that says ", " saying ", " about: "]))
    hello = f"Dear {name}," if name and r.random() < 0.5 else f"Hello {name},".replace(" ,", ",")
    return [["user", q], ["assistant", f"{hello}\n\n{text}\n\nBest regards"]]


def thanks_note(r):
    kind = r.choice(["email", "message", "thank you note", "letter", "cover letter", "birthday card", "text"])
    q = r.choice(["Write a", "Draft a", "Compose a", "Write me a"]) + f" {kind}"
    return [["user", q.replace("a email", "an email")], ["assistant", "Gladly. Tell me to whom it goes and what it should say, for example: draft a message to Ann, I will be late."]]


def recall(r):
    n = row_for(r, "names")["n1"]
    talk = [["user", r.choice(["My name is {}", "I am {}", "Hi, I'm {}", "Hello, my name is {}", "Call me {}"]).format(n) + r.choice(["", ".", "!"])], ["assistant", f"Nice to meet you, {n}! How can I help you?"]]
    if r.random() < 0.5:
        talk += from_topic(r, r.choice(PLAIN))[:2]
    return talk + [["user", r.choice(["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Say my name"])], ["assistant", f"Your name is {n}."]]


def case(r):
    p = " ".join(r.choice(WORDS["nouns"]) for _ in range(r.randint(1, 3)))
    up = r.random() < 0.6
    q = r.choice(["Write in upper case: ", "Uppercase: ", "In capital letters: "]) if up else r.choice(["Write in lower case: ", "Lowercase: "])
    return [["user", q + (p if up else p.upper())], ["assistant", p.upper() if up else p]]


COMPUTED = [(sums, 16), (counting, 3), (compare, 2), (summarise, 34), (draft, 12), (thanks_note, 2), (recall, 5), (case, 2)]
SYSTEM = ["You are a helpful assistant.", "You are a helpful assistant", "Be brief.", "You are a friendly assistant. Answer briefly.", "Answer in English.", "You are an assistant that answers in one sentence.", "You are Cocoon's assistant.", "Be polite and short.", "You are a helpful AI assistant. Keep answers short.", "You are a bot."]


def one(r, detail):
    topics, computed = TOPICS, COMPUTED
    if r.random() < detail:
        topics = [t for t in TOPICS if t["use"] and t["name"] not in ("unknown", "long", "gibberish")]
    total, more = sum(t["weight"] for t in topics), sum(w for _, w in computed)
    if r.random() * (total + more) < more:
        f, = r.choices([c for c, _ in computed], [w for _, w in computed])
        return f(r)
    t, = r.choices(topics, [t["weight"] for t in topics])
    return from_topic(r, t)


def drill(r):
    """Words in no order, to be said again."""
    pool = [lambda: r.choice(WORDS["nouns"]), lambda: r.choice(WORDS["adjectives"]), lambda: made_up(r), lambda: r.choice(WORDS["names"]), lambda: str(r.randint(0, 99))]
    words = [r.choice(pool)() for _ in range(r.randint(3, 24))]
    text = r.choice([" ", " ", ", "]).join(words)
    kind = r.random()
    if kind < 0.6:
        return [["user", r.choice(["Repeat: ", "Repeat after me: ", "Say: ", "Echo: ", "Write: ", "Say exactly: "]) + text], ["assistant", text]]
    if kind < 0.75:
        return [["user", "Repeat twice: " + text], ["assistant", text + "\n" + text]]
    if kind < 0.9:
        i = r.randrange(len(words) - 1)
        if words.count(words[i]) > 1:
            return drill(r)
        return [["user", f"Which word follows {words[i]} in: {' '.join(words)}"], ["assistant", words[i + 1]]]
    return [["user", "Write one word per line: " + " ".join(words)], ["assistant", "\n".join(words)]]


EXACT = ("Repeat", "Say", "Reply", "Respond", "Answer", "Just", "Echo", "Write in", "Upper", "Lower", "In capital", "Please say", "Print")


def roughen(r, q):
    """Users do not type like authors: case, punctuation, politeness, slips."""
    if q.startswith(EXACT) or "\n" in q or len(q) > 90:
        return q
    if r.random() < 0.12:
        q = r.choice(["Please, ", "Hi, ", "Hello, ", "Hey, ", "So, ", "Now ", "And ", "Ok, ", "Well, ", "Quick question: ", "Question: ", "I have a question: ", "Hi! "]) + q[0].lower() + q[1:]
    if r.random() < 0.08:
        q = q.rstrip("?.! ") + r.choice([" please", ", please", " Answer briefly.", " in one sentence", " in a few words", "? Be brief.", ", in short", " Keep it short.", " in simple terms"])
    if r.random() < 0.25:
        q = q.rstrip("?.!")
    elif r.random() < 0.1:
        q += r.choice(["!", ".", "?", "??", " :)"])
    if r.random() < 0.25:
        q = q.lower()
    if r.random() < 0.05 and len(q) > 6:
        i = r.randrange(1, len(q) - 2)
        q = r.choice([q[:i] + q[i + 1:], q[:i] + q[i + 1] + q[i] + q[i + 2:]])
    return q or "?"


def dialogue(r, detail, drills):
    if r.random() < drills:
        return drill(r)
    turns = one(r, detail)
    again, longest = (0.95, 24) if r.random() < 0.03 else (0.22, 7)  # a few long talks fill the context
    while r.random() < again and len(turns) < longest:
        turns += one(r, detail)
    turns = [[role, roughen(r, s) if role == "user" else s] for role, s in turns]
    if r.random() < 0.2:
        turns.insert(0, ["system", r.choice(SYSTEM)])
    return turns


def main():
    n, seed = int(sys.argv[1]), int(sys.argv[2])
    detail, drills = map(float, sys.argv[3:5] or (0, 0))
    r = random.Random(seed)
    for _ in range(n):
        print(json.dumps(dialogue(r, detail, drills), ensure_ascii=False))


if __name__ == "__main__":
    main()
