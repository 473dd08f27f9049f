# %% [markdown]
# # 10. Generation
#
# After this notebook you can
#
# - say why the most likely text is dull and loops, and what temperature, top-k, top-p and min-p do about it;
# - read log-probabilities: where a model is surprised, and by how much;
# - count what a key–value cache saves;
# - check drafted tokens so that speculative decoding changes nothing but the speed;
# - explain why the same prompt may give another text on another machine, and what it takes to prevent that.
#
# You need [softmax](03_softmax_and_cross_entropy.md), [a GPT from its parts](07_a_gpt_from_its_parts.md), and of
# [optimizers](08_optimizers_drawn.md) what a training loop looks like. It takes about 60 minutes.

# %%
import re
import time
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
from ml_dtypes import bfloat16
from scipy.stats import chisquare

import minitrain as mt
from minitrain.backend import processor_name
from minitrain.data import CharTokenizer, TokenView, read_corpus, train_bpe_tokenizer
from minitrain.generation import (
    PromptLookup,
    SamplingParams,
    UncachedSession,
    batch_generate,
    beam_search_generate,
    session_for,
    speculative_generate,
)
from minitrain.generation.processors import keep_min_p, keep_top_k, keep_top_p
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## A model to play with
#
# Every Python brings a text: its own language reference. We keep its letters, spaces, commas and full stops. That
# makes 29 characters, few enough to draw all of their probabilities. The last 20,000 characters are held out.

# %%
text = re.sub(r"[^a-z.,]+", " ", read_corpus().lower().replace("'", ""))  # anything else becomes a space
text = re.sub(r"( ?[.,])+", lambda match: match[0][-1], text)  # no space before a comma, no row of dots
tokenizer = CharTokenizer.from_text(text)
tokens, V = tokenizer.encode(text), tokenizer.vocab_size
train, held_out = tokens[:-20_000], tokens[-20_000:]
print(f"{len(tokens):,} characters; the held-out part begins: {tokenizer.decode(held_out[:90])}")
TokenView(tokenizer, held_out[:40])

# %% [markdown]
# Each character is a token, with its number below. Large models read longer pieces, for which frequent neighbours were
# joined again and again. The same beginning in pieces of a vocabulary of 500:

# %%
TokenView(train_bpe_tokenizer([text], vocab_size=500), tokenizer.decode(held_out[:40]))

# %% [markdown]
# Fewer tokens mean fewer steps for the same text. But 500 probabilities are too many for a picture, so we stay with
# characters.

# %%
model = mt.GPT(mt.GPTConfig(vocab_size=V, block_size=128, n_layer=2, n_head=4, n_embd=64, positions="rotary"))
optimizer = mt.optim.Muon(model, momentum=0.85)
schedule = mt.WarmupCosine(max_lr=0.03, min_lr=0.001, warmup_steps=20, total_steps=400)
loader = mt.TokenLoader(train, block_size=128, batch_size=8, seed=0)
for step in range(400):
    optimizer.set_lr(schedule(step))
    optimizer.zero_grad()
    loss, cache = model.loss(loader.batch(step))
    model.loss_backward(cache)
    clip = mt.clip_by_global_norm(model, 1.0, count=loss.count)
    optimizer.step(clip.scale)
    if step % 200 == 199:
        print(f"step {step + 1}: loss {loss.mean:.2f}")

# %% [markdown]
# How good is it on text that it has not seen? The *surprise* of a character is $-\ln p$, where $p$ is the probability
# that the model gave it. The mean over a text is the loss of [notebook 3](03_softmax_and_cross_entropy.md). With the
# natural logarithm, its unit is the *nat*.


# %%
def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def surprise(texts):
    """The surprise at each character but the first: tokens (B, T) to (B, T - 1)."""
    logits, _ = model.forward(texts[:, :-1])  # (B, T - 1, V)
    p = softmax(logits.astype(np.float64))
    return -np.log(np.take_along_axis(p, texts[:, 1:, None], axis=2)[..., 0])


windows = held_out[: 150 * 128].reshape(150, 128)
of_held_out = surprise(windows)  # (150, 127)

# %% [markdown]
# It is {{ of_held_out.mean():.2f | 1.7 ± 0.2 }} nats for each character. Guessing blindly would cost $\ln 29 =
# {{ np.log(V):.2f | 3.37 ± 0.05 }}$. So on average the model is as uncertain as if it chose between
# $e^{ {{ of_held_out.mean():.2f }} } \approx$ {{ np.exp(of_held_out.mean()):.1f | 5.5 ± 1.2 }} equally likely
# characters. It is a small model after some seconds of training. That is good: its faults are easy to see.
#
# ## A model gives a distribution, not a text
#
# All that a model says is how likely each next character is. Here are two places: one where it knows, one where it
# cannot know.


# %%
def next_logits(prompt):
    logits, _ = model.forward(tokenizer.encode(prompt)[None])
    return logits[0, -1].astype(np.float64)


letters = [tokenizer.decode([i]).replace(" ", "␣") for i in range(V)]
places = {prompt: softmax(next_logits(prompt)) for prompt in ("of the functi", "the value of the ")}

figure, rows = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True)
for axes, (prompt, p) in zip(rows, places.items(), strict=True):
    axes.bar(range(V), p, color=BLUE)
    axes.set_title(f"after “{prompt.replace(' ', '␣')}”", loc="left", family="monospace", fontsize=10)
    axes.set(ylabel="probability", xticks=range(V), xticklabels=letters)
rows[1].set_xlabel("next character")
plt.show()

# %% tags=["hidden"]
certain, open_ = places.values()
assert letters[certain.argmax()] == "o" and open_.max() < 0.5

# %% [markdown]
# Something must turn a distribution into a character, again and again. That is *decoding*, and it decides as much
# about the text as the model does.
#
# ## Greedy, and why it loops
#
# The obvious rule is *greedy*: always take the most likely character. What will a few hundred of them look like?

# %%
prompts = ["the ", "if the value of ", "a class may "]
greedy = batch_generate(
    model,
    [tokenizer.encode(prompt) for prompt in prompts],
    SamplingParams(temperature=0, max_new_tokens=300, logprobs=0),
)
for prompt, result in zip(prompts, greedy, strict=True):
    print(f"[{prompt}]{tokenizer.decode(result.tokens[:220])}…\n")

# %% [markdown]
# It loops. A picture shows it for the whole text: the point in row $i$ and column $j$ is dark if the five characters
# that begin at place $i$ are the same as the five that begin at place $j$. Every text has the main diagonal. Another
# diagonal line is a passage that comes again.


# %%
def grams(tokens, n=5):
    """The n characters from each place on, as rows."""
    return np.lib.stride_tricks.sliding_window_view(tokens, n)


def distinct(tokens, n=5):
    """Share of the runs of n characters that are different."""
    return len(np.unique(grams(tokens, n), axis=0)) / len(grams(tokens, n))


sampled = batch_generate(model, [tokenizer.encode("the ")], SamplingParams(max_new_tokens=300, seed=1, logprobs=0))[0]
shown = {"held-out text": held_out[:300], "greedy": greedy[0].tokens, "drawn at random": sampled.tokens}
figure, columns = plt.subplots(1, 3, figsize=(9.5, 3.5), sharey=True)
for axes, (name, one) in zip(columns, shown.items(), strict=True):
    same = (grams(one)[:, None] == grams(one)[None]).all(axis=2)
    axes.imshow(same, cmap="Blues", interpolation="antialiased")
    axes.set_title(f"{name}: {distinct(one):.0%} different", fontsize=10)
    axes.set(xlabel="place j (characters)")
columns[0].set_ylabel("place i (characters)")
plt.show()

# %% [markdown]
# In 60 such pieces of the held-out text,
# {{ np.mean([distinct(piece) for piece in held_out[:18_000].reshape(60, 300)]):.0% | 0.84 ± 0.08 }} of the runs of
# five characters are different, on average. In the greedy text it is {{ distinct(greedy[0].tokens):.0% | ≤ 0.5 }}.
# There are two reasons for loops.
#
# - **It must come to this.** The model sees at most its last 128 characters, and greedy decoding has no dice. So the
#   next character is a function of those 128. There are finitely many texts of 128 characters. So one day one of them
#   comes again, and with it all that follows. Nothing ever leads out of a loop.
# - **It comes early.** The most likely continuation is a common phrase, and the most likely continuation of that is
#   another common phrase. A few of them form a circle. Large models have learned to copy, and that makes it worse:
#   the more often they have repeated a phrase, the more certain of it they are (Holtzman et al., 2019).
#
# The rule is not even good at what it seems to aim for. The likeliest next character, again and again, does not make
# the likeliest text; we come to that with beam search.
#
# ## Drawing at random
#
# The third picture was made by drawing each character with the probability that the model gives it. How does one
# draw? Write the probabilities end to end, on a line from 0 to 1. Throw a dart: a uniform random number $u$ from
# $[0, 1)$. Take the character on whose piece it falls. In other words, take the first one whose *cumulative*
# probability exceeds $u$. This is called the inverse transform, since it inverts the cumulative distribution.
#
# **Exercise 1.** Draw tokens at a temperature $T$. The probabilities are the softmax of the logits divided by $T$.
# Return a pair: the probabilities, and an array with one token for each uniform number in the array `u`.
#
# <details markdown><summary>Hint</summary>
#
# `np.cumsum` gives the cumulative probabilities. For a number `u`, the token is the number of cumulative
# probabilities that are at most `u`. `np.searchsorted(cumulative, u, side="right")` counts them, for a whole array
# of `u`.
#
# </details>


# %% tags=["folded"]
def sample_reference(logits, temperature, u):
    scores = logits / temperature
    p = np.exp(scores - scores.max())
    p = p / p.sum()
    tokens = np.array([next(i for i, total in enumerate(np.cumsum(p)) if total > number) for number in u])
    return p, tokens


drawing = Exercise(
    "sample",
    reference=sample_reference,
    inputs={"logits": (9,), "temperature": 0.7, "u": np.arange(40) / 40},
    hints=[
        "First the probabilities: divide, take the exponential, divide by the sum.",
        "Then the tokens: the first whose cumulative probability exceeds u.",
        "p = np.exp(logits / temperature); p /= p.sum(); then np.searchsorted(np.cumsum(p), u, side='right')",
    ],
    advice={
        "all are": "Probabilities add up to 1.",
        "Result 0: the shape": "First the probabilities (one for each token), then the tokens (one for each u).",
        "Result 0": "The temperature divides the logits, before the exponential.",
        "Result 1": "The token is the first whose cumulative probability (np.cumsum) exceeds u.",
    },
)


# %% tags=["exercise"]
def sample(logits, temperature, u): ...  # your turn: probabilities (V,) and tokens, one for each of u


drawing.check(sample)


# %% tags=["solution"]
def sample(logits, temperature, u):
    scores = logits / temperature
    p = np.exp(scores - scores.max())
    p = p / p.sum()
    return p, np.searchsorted(np.cumsum(p), u, side="right")


drawing.check(sample)


# %% tags=["hidden"]
def wrong_sample(logits, temperature, u, kind):
    p = np.exp(logits * temperature if kind == "times" else logits if kind == "late" else logits / temperature)
    total = np.cumsum(p / p.sum())
    if kind == "late":
        p = p / p.sum() / temperature
    elif kind != "sum":
        p = p / p.sum()
    if kind == "argmax":
        return p, np.full(len(u), p.argmax())
    if kind == "logits":
        return p, np.searchsorted(np.sort(p), u)
    return p, np.searchsorted(total, u, side="right")


for kind, words in {
    "times": "The temperature divides",
    "late": "The temperature divides",
    "sum": "add up to 1",
    "argmax": "cumulative probability",
    "logits": "cumulative probability",
}.items():
    drawing.expect(lambda *given, kind=kind: wrong_sample(*given, kind), words)
drawing.expect(lambda logits, temperature, u: None, "not written yet")

# %% [markdown]
# At $T = 1$ these are the model's own probabilities. As $T \to 0$ the largest logit wins, and we are back at greedy.
# With a large $T$ all tokens become equally likely. What happens in between?

# %%
temperatures = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4]
results = batch_generate(
    model,
    [tokenizer.encode("the ")] * len(temperatures),
    [SamplingParams(temperature=T, num_samples=8, max_new_tokens=120, logprobs=0) for T in temperatures],
    slots=8 * len(temperatures),
)
for T, result in zip(temperatures, results, strict=True):
    print(f"T = {T}  {tokenizer.decode(result.tokens)}")
drawn_surprise = [-np.mean([sample.logprobs for sample in result.samples]) for result in results]
drawn_distinct = [np.mean([distinct(sample.tokens) for sample in result.samples]) for result in results]
text_distinct = np.mean([distinct(window[:120]) for window in windows])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
left.plot(temperatures, drawn_surprise, "o-", color=BLUE)
left.axhline(of_held_out.mean(), color=GREEN, linestyle="--")
left.text(0.2, of_held_out.mean() + 0.06, "held-out text", color=GREEN)
left.set(xlabel="temperature", ylabel="mean surprise of the model (nats)", ylim=(0, None))
right.plot(temperatures, drawn_distinct, "o-", color=BLUE)
right.axhline(text_distinct, color=GREEN, linestyle="--")
right.text(0.2, text_distinct + 0.015, "held-out text", color=GREEN)
right.set(xlabel="temperature", ylabel="different runs of 5 characters (share)", ylim=(None, 1.02))
plt.show()

# %% [markdown]
# Left: how surprised the model itself (at $T = 1$) is at the text that was drawn. At low temperatures it is much less
# surprised ({{ drawn_surprise[0]:.2f | ≤ 1.2 }} nats at $T = 0.2$) than at text that people wrote. So real text is
# *not* the most likely text. It has surprises, and samples at $T = 1$ have about as many: {{ drawn_surprise[4]:.2f |
# 1.7 ± 0.25 }} nats, where held-out text has {{ of_held_out.mean():.2f }}. This is no accident. Training makes the
# model's distribution like that of the text.
#
# Yet samples at $T = 1$ read badly. Our model gives a little probability to each of many wrong characters. Together
# they are drawn often, and one of them spoils the rest of its word. Can one cut off this *tail* and keep the variety?
#
# ## Cutting the tail
#
# - **top-k** keeps the $k$ most likely tokens.
# - **top-p** (or nucleus) keeps the smallest set of most likely tokens whose probabilities add up to at least $p$.
# - **min-p** keeps the tokens that are at least $p$ times as likely as the most likely one.
#
# What is left is divided by its sum. Predict, before you go on: which of them keep many tokens where the model cannot
# know, and few where it knows?
#
# **Exercise 2.** Write top-p: probabilities in, probabilities out, with zeros for the tokens that are cut. The token
# that makes the sum reach $p$ belongs to the set.
#
# <details markdown><summary>Hint</summary>
#
# `order = np.argsort(-probabilities)` lists the tokens, the most likely first. A token is kept if the sum of those
# *before* it is still below $p$.
#
# </details>


# %% tags=["folded"]
def top_p_reference(probabilities, p):
    order = np.argsort(-probabilities)
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = np.zeros_like(probabilities)
    kept[order[before < p]] = probabilities[order[before < p]]
    return kept / kept.sum()


nucleus = Exercise(
    "top_p",
    reference=top_p_reference,
    inputs={"probabilities": np.array([0.05, 0.30, 0.02, 0.15, 0.25, 0.08, 0.05, 0.10]), "p": 0.6},
    hints=[
        "Sort the tokens, the most likely first, and add up.",
        "Each token stays in its own place of the result: kept[order[...]] = probabilities[order[...]].",
        "Keep where np.cumsum(probabilities[order]) - probabilities[order] < p; then divide by the sum.",
    ],
    advice={
        "all are 0.7 times": "Divide what is left by its sum.",
        "(3,) is 0,": "0.30 + 0.25 is 0.55, which does not reach 0.6. The token that reaches it belongs to the set.",
        "is nan": "No single token has the probability p. It is their sum that counts.",
        "not finite": "No single token has the probability p. It is their sum that counts.",
        "(0,) is 0.4": "Put each token back into its own place.",
    },
)


# %% tags=["exercise"]
def top_p(probabilities, p): ...  # your turn


nucleus.check(top_p)


# %% tags=["solution"]
def top_p(probabilities, p):
    order = np.argsort(-probabilities)
    ranked = probabilities[order]
    ranked = np.where(np.cumsum(ranked) - ranked < p, ranked, 0)
    out = np.zeros_like(probabilities)
    out[order] = ranked
    return out / out.sum()


nucleus.check(top_p)


# %% tags=["hidden"]
def wrong_top_p(probabilities, p, kind):
    order = np.argsort(-probabilities)
    if kind == "unsorted":
        order = np.arange(len(probabilities))
    ranked = probabilities[order]
    keep = np.cumsum(ranked) - ranked < p
    if kind == "short":
        keep = np.cumsum(ranked) <= p
    ranked = np.where(keep, ranked, 0)
    if kind == "place":
        return ranked / ranked.sum()
    out = np.zeros_like(probabilities)
    out[order] = ranked
    return out if kind == "sum" else out / out.sum()


for kind, words in {
    "sum": "Divide what is left",
    "short": "belongs to the set",
    "place": "into its own place",
    "unsorted": "the reference has",
}.items():
    nucleus.expect(lambda *given, kind=kind: wrong_top_p(*given, kind), words)
nucleus.expect(lambda probabilities, p: None, "not written yet")

# %% [markdown]
# Now the pictures. Grey outlines are the model's own distribution, in order of probability. Blue bars are what is
# left of it.


# %%
def cut(keep):
    """The distribution over the tokens at the places that ``keep`` returns for log-probabilities."""

    def change(p):
        kept = keep(np.log(p))
        return np.bincount(kept, p[kept] / p[kept].sum(), minlength=V)

    return change


settings = {
    "temperature 0.5": lambda p: softmax(np.log(p) / 0.5),
    "temperature 1.5": lambda p: softmax(np.log(p) / 1.5),
    "top-k, k = 5": cut(lambda scores: keep_top_k(scores, 5)),
    "top-p, p = 0.8": lambda p: top_p(p, 0.8),
    "min-p, p = 0.2": cut(lambda scores: keep_min_p(scores, 0.2)),
}
figure, grid = plt.subplots(2, 5, figsize=(12.5, 4.8), sharey="row")
for row, (prompt, p) in zip(grid, places.items(), strict=True):
    order = np.argsort(-p)[:16]
    for axes, (name, change) in zip(row, settings.items(), strict=True):
        new = change(p)
        axes.bar(range(16), new[order], color=BLUE, width=0.8)
        axes.bar(range(16), p[order], facecolor="none", edgecolor=GREY, width=0.8)
        axes.set_xticks(range(16), [letters[i] for i in order], fontsize=8)
        left = "" if "temperature" in name else f": {np.count_nonzero(new)} left"
        axes.set_title(name + left, fontsize=10)
    row[0].set_ylabel(f"probability after\n“{prompt.replace(' ', '␣')}”")
plt.show()

# %% tags=["hidden"]
for p in places.values():
    assert np.array_equal(np.flatnonzero(top_p(p, 0.8)), keep_top_p(np.log(p), 0.8))

# %% [markdown]
# Top-k keeps the same number everywhere. Where the model is certain, that lets wrong tokens in; where it cannot know,
# it forbids good ones. Top-p and min-p adapt: they leave
# {{ np.count_nonzero(top_p(certain, 0.8)) | 1 ± 0 }} token in the certain place, and
# {{ np.count_nonzero(top_p(open_, 0.8)) | 12 ± 5 }} and
# {{ np.count_nonzero(settings["min-p, p = 0.2"](open_)) | 14 ± 7 }} in the open one. They answer different questions.
# Top-p asks how much of the whole is covered; so it can keep a poor token if the rest is spread thin. Min-p compares
# each token with the best.

# %%
tries = {
    "as the model says": {},
    "temperature 0.6": {"temperature": 0.6},
    "top-k 5": {"top_k": 5},
    "top-p 0.8": {"top_p": 0.8},
    "min-p 0.2": {"min_p": 0.2},
}
prompt = tokenizer.encode("the value of the ")
results = batch_generate(model, [prompt] * 5, [SamplingParams(max_new_tokens=75, seed=3, **t) for t in tries.values()])
for name, result in zip(tries, results, strict=True):
    print(f"{name:18} {tokenizer.decode(result.tokens)}")

# %% [markdown]
# ## Log-probabilities: where is it surprised?
#
# The same numbers tell what the model thinks of a given text. Here are six lines of held-out text. The darker a
# character, the more it surprised the model. Where will the dark ones be?

# %%
lines, characters = of_held_out[40:46, -64:], windows[40:46, -64:]
figure, axes = plt.subplots(figsize=(11, 2.6))
image = axes.imshow(lines, cmap="YlOrRd", vmin=0, vmax=6, aspect="auto")
for i, line in enumerate(characters):
    for j, token in enumerate(line):
        color = "white" if lines[i, j] > 3.5 else "black"
        axes.text(j, i, letters[token], ha="center", va="center", family="monospace", fontsize=9, color=color)
axes.set(xticks=[], yticks=[])
figure.colorbar(image, label="surprise (nats)", pad=0.01)
plt.show()

# %%
space = tokenizer.encode(" ")[0]
is_letter = np.array([letter.isalpha() for letter in letters])
place = np.full(windows.shape, -1)  # of each letter in its word, from 0; -1 for other characters, and unknown
for row, out in zip(windows, place, strict=True):
    for j in range(1, 128):
        if is_letter[row[j]]:
            out[j] = 0 if not is_letter[row[j - 1]] else out[j - 1] + 1 if out[j - 1] >= 0 else -1
by_place = [of_held_out[place[:, 1:] == n].mean() for n in range(8)]

figure, axes = plt.subplots(figsize=(6, 3.2))
axes.bar(range(1, 9), by_place, color=[RED] + 7 * [BLUE])
axes.set(xlabel="place of the letter in its word", ylabel="mean surprise (nats)", xticks=range(1, 9))
plt.show()

# %% [markdown]
# They are at the beginning of words. A first letter costs {{ by_place[0]:.1f | 2.6 ± 0.35 }} nats, a fifth one
# {{ by_place[4]:.1f | 1.3 ± 0.4 }}. What a word is about is decided at its beginning, and the rest mostly follows.
# Such numbers are used to find strange passages, to compare two texts (which is likelier?), and to see whether a
# model knew an answer. `SamplingParams(logprobs=0)` gives them for chosen tokens. They are always of the model's own
# distribution, before temperature and cuts.
#
# ## The key–value cache
#
# To predict token $n$, attention needs the keys and values of the $n - 1$ tokens before it
# ([notebook 5](05_attention.md)). The simplest loop runs the model on the whole text for each new token. It computes
# the same keys and values again and again: attention is causal, so those of old positions do not change when a new
# one comes. A *cache* keeps them. Count the positions that go through the model for $N$ tokens:
#
# $$\text{without: } 1 + 2 + \dots + N = \tfrac{N (N + 1)}{2}, \qquad \text{with: } N$$
#
# For 512 tokens, that is {{ 512 * 513 // 2:, }} against 512. The cache has its price: two numbers (a key and a value)
# for each layer, position and element of the width. Here is a larger model, untrained, since only the time matters.
# `forward_hidden` takes the cached keys and values from `past`, and adds the new ones to it.

# %%
larger = mt.GPT(mt.GPTConfig(vocab_size=V, block_size=513, n_layer=4, n_head=4, n_embd=128, positions="rotary"))
long_text = train[:513][None]  # (1, 513)


def fastest(work, repeats=4):
    """Seconds of the fastest of a few runs: the one that other programs disturbed least."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


lengths = [32, 64, 128, 192, 256, 320, 384, 448, 512]
without, with_cache = [], []
past = larger.new_past()
for n in lengths:
    prompt = long_text[:, :n]
    without.append(fastest(lambda prompt=prompt: larger.forward(prompt)))
    larger.forward_hidden(long_text[:, past[0].length : n - 4], past=past)  # all but the last 4 tokens
    with_cache.append(fastest(lambda: larger.forward_hidden(long_text[:, past[0].length :][:, :1], past=past)))

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
left.plot(range(1, 513), np.arange(1, 513).cumsum(), color=RED, label="without a cache")
left.plot(range(1, 513), range(1, 513), color=BLUE, label="with a cache")
left.set(xlabel="tokens generated", ylabel="positions computed, in all", yscale="log")
left.legend()
right.plot(lengths, 1e3 * np.array(without), "o-", color=RED, label="without a cache")
right.plot(lengths, 1e3 * np.array(with_cache), "o-", color=BLUE, label="with a cache")
right.set(xlabel="length of the text (tokens)", ylabel="time for one more token (ms)", ylim=(0, None))
right.set_title(processor_name(), fontsize=9)
right.legend()
plt.show()

# %% tags=["hidden"]
assert with_cache[-1] < without[-1] / 2

# %% [markdown]
# On this machine ({{ processor_name() }}), a token at length 512 takes {{ 1e3 * without[-1]:.1f }} ms without a cache
# and {{ 1e3 * with_cache[-1]:.2f }} ms with it. The cache of this model takes
# {{ 2 * 4 * 512 * 128 * 4 / 2**20:.0f | 2 ± 0 }} MiB at 512 tokens in float32: $2 \cdot 4 \text{ layers} \cdot 512
# \text{ positions} \cdot 128 \text{ elements} \cdot 4$ bytes. With many long texts at once it becomes larger than
# the weights. That is one reason why many models let several heads share their keys.
#
# In minitrain you need not handle this: `session_for(model)` makes a *session* that keeps keys and values, and all
# that generates uses one.
#
# ## Beam search: the likeliest text
#
# Greedy decoding never reconsiders. Let a toy model have three tokens, with these probabilities of the next one:
#
# | after | a | b | c |
# |---|---|---|---|
# | **a** | 0.4 | 0.3 | 0.3 |
# | **b** | 0.05 | 0.05 | 0.9 |
# | **c** | 0.5 | 0.4 | 0.1 |
#
# The text begins with c. Which three tokens will greedy decoding choose? Which three make the most likely text?
#
# *Beam search* keeps the $K$ most likely beginnings, the *beams*. It continues each with every token, and keeps the
# $K$ most likely of the results.


# %%
def beam_search(next_logprobs, beams, length):
    """Returns the kept texts of each step, as (tokens, log-probability), and all that were looked at."""
    kept, steps = [((), 0.0)], []
    for _ in range(length):
        grown = [
            ((*text, token), score + step) for text, score in kept for token, step in enumerate(next_logprobs(text))
        ]
        kept = sorted(grown, key=lambda each: -each[1])[:beams]
        steps.append((kept, grown))
    return steps


toy = np.array([[0.4, 0.3, 0.3], [0.05, 0.05, 0.9], [0.5, 0.4, 0.1]])
steps = beam_search(lambda text: np.log(toy[text[-1] if text else 2]), beams=2, length=3)
(best, best_score), *_ = steps[-1][0]
(greedy_text, greedy_score), *_ = beam_search(lambda text: np.log(toy[text[-1] if text else 2]), 1, 3)[-1][0]

# %%
y = {(): 0.0}  # where each text is drawn
figure, axes = plt.subplots(figsize=(9.5, 5))
for column, (kept, grown) in enumerate(steps, 1):
    alive = {text for text, _ in kept}
    grown = sorted(grown, key=lambda each: (-y[each[0][:-1]], each[0]))
    for i, (text, score) in enumerate(grown):
        y[text] = 2.6 - 5.2 * i / (len(grown) - 1)
        color = GREEN if text == best[:column] else BLUE if text in alive else GREY
        style = {"color": color, "lw": 2.5 if color == GREEN else 1.2, "alpha": 0.4 if color == GREY else 1}
        axes.plot([column - 0.95 if column == 1 else column - 0.84, column - 0.16], [y[text[:-1]], y[text]], **style)
        box = {
            "boxstyle": "round",
            "facecolor": "white",
            "edgecolor": color,
            "linestyle": ":" if color == GREY else "-",
        }
        axes.text(column, y[text], f"{'abc'[text[-1]]}  {np.exp(score):.3f}", ha="center", va="center", bbox=box)
        if text == greedy_text[:column]:
            axes.text(column, y[text] + 0.32, "greedy", color=RED, ha="center", fontsize=9)
axes.text(0, 0, "c", ha="center", va="center", bbox={"boxstyle": "round", "facecolor": "white"})
axes.set(xlim=(-0.1, 3.3), ylim=(-3, 3.1))
axes.set_axis_off()
plt.show()

# %% [markdown]
# Each box has a token and the probability of the text up to it. Solid boxes are the two beams of each step, dotted
# ones were dropped. Greedy takes a, since 0.5 is more than 0.4, and then finds nothing good after it: its text has
# the probability {{ np.exp(greedy_score):.3f | 0.08 ± 0.001 }}. The second beam found
# {{ np.exp(best_score):.3f | 0.18 ± 0.001 }}. Beam search is not exact either: what it drops is lost. With as many
# beams as there are texts it would be.
#
# minitrain's own search finds the same, with any model. A model, for it, is whatever has a `config.block_size` and a
# `forward` that returns logits. Let us make one from a table; we shall need it again.


# %%
class Table:
    """A language model that looks the next token up, by the last ``n`` tokens.

    Args:
        probabilities: (V, ..., V), the last axis for the next token, n axes before it.
    """

    def __init__(self, probabilities, block_size=128):
        self.n, self.size = probabilities.ndim - 1, probabilities.shape[-1]
        self.logits = np.log(probabilities).astype(np.float32)
        self.config = SimpleNamespace(block_size=block_size)

    def forward(self, tokens, *, key=None):
        before = np.concatenate([np.zeros((len(tokens), self.n - 1), tokens.dtype), tokens], axis=1)
        return self.logits[tuple(before[:, i : i + tokens.shape[1]] for i in range(self.n))], None  # (B, T, V)


((found,),) = beam_search_generate(Table(toy), [[2]], num_beams=2, max_new_tokens=3)
print("".join("abc"[token] for token in found.tokens), f"probability {np.exp(found.log_probability):.3f}")

# %% tags=["hidden"]
assert tuple(found.tokens) == best and abs(found.log_probability - best_score) < 1e-5

# %% [markdown]
# Now the real model. More beams find likelier texts. Are they better texts?

# %%
begin = tokenizer.encode("the value of the ")
by_beams = {}
for beams in (1, 4, 16):
    ((by_beams[beams],),) = beam_search_generate(model, [begin], num_beams=beams, max_new_tokens=60)
    print(f"{beams:2} beams {by_beams[beams].log_probability / 60:6.2f}  {tokenizer.decode(by_beams[beams].tokens)}")
(many,) = batch_generate(model, [begin], SamplingParams(num_samples=200, max_new_tokens=60, logprobs=0), slots=64)
drawn = np.array([sample.logprobs.mean() for sample in many.samples])  # (200,)
pieces = -of_held_out[:, -60:].mean(axis=1)  # (150,)
for i in (0, 1):
    print(f"a sample {drawn[i]:6.2f}  {tokenizer.decode(many.samples[i].tokens)}")

# %%
figure, axes = plt.subplots(figsize=(8, 3.6))
bins = np.linspace(-2.7, -0.2, 51)
axes.hist(drawn, bins, color=BLUE, alpha=0.7, density=True, label="200 samples")
axes.hist(pieces, bins, color=GREEN, alpha=0.5, density=True, label="pieces of held-out text")
for beams, color in ((1, YELLOW), (16, RED)):
    axes.axvline(
        by_beams[beams].log_probability / 60, color=color, lw=2, label=f"{beams} beams" if beams > 1 else "greedy"
    )
axes.set(xlabel="log-probability per character, of 60 characters (nats)", ylabel="density")
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# The likeliest of 200 samples has {{ drawn.max():.2f }} nats for each character, the text of 16 beams
# {{ by_beams[16].log_probability / 60:.2f | -0.5 ± 0.25 }}. No sample and no piece of real text is like that:
# {{ (drawn >= by_beams[16].log_probability / 60).sum() | ≤ 0 }} of 200 samples and
# {{ (pieces >= by_beams[16].log_probability / 60).sum() | ≤ 0 }} of 150 pieces of held-out text are as likely.
#
# How can the *most likely* text be one that never occurs? Throw a coin that shows heads in 60 % of all throws, 100
# times. The most likely of all sequences is 100 heads. Its probability is $0.6^{100} \approx 10^{-22}$. You will see
# about 60 heads, always: no such sequence is as likely as 100 heads, but there are so many of them. Where a text has
# to be *right* rather than typical, as in translation, a few beams help. For a story, do not look for the most likely
# text.
#
# ## Speculative decoding: draft and check
#
# A large model is slow for a reason that [a later notebook](12_how_fast_code_is_made.md) measures: for each token,
# all weights come from memory. The model could check several tokens in one pass for nearly the same price, as it
# does in training. But they must be known first. So let something cheap *draft* the next $k$ tokens. One pass of the
# model gives its own distribution at each of these places, and then we decide which of the drafted tokens to keep.
#
# Our drafts are tables: how often did each character follow the last one, the last two, the last three?


# %%
def counted(context):
    """A `Table` of how often each character followed the last ``context`` ones, plus a little for those never seen."""
    counts = np.full((V,) * (context + 1), 0.05)
    np.add.at(counts, tuple(train[i : len(train) - context + i] for i in range(context + 1)), 1)
    return Table(counts / counts.sum(axis=-1, keepdims=True))


drafts = {context: counted(context) for context in (1, 2, 3)}
for context, draft in drafts.items():
    logits, _ = draft.forward(windows[:, :-1])
    cost = -np.log(np.take_along_axis(softmax(logits), windows[:, 1:, None], axis=2)).mean()
    print(f"the last {context}: {cost:.2f} nats per held-out character (the model: {of_held_out.mean():.2f})")
# %% tags=["hidden"]
assert cost < of_held_out.mean() + 0.05  # of the last one, the table of three characters

# %% [markdown]
# On this text, the table of three characters is no worse than our model after its seconds of training. Tables do not
# go much further: one of ten characters would have $29^{11}$ entries. Take the table of two as the draft, and
# one place.

# %%
start = tokenizer.encode("in the st")
p = softmax(next_logits("in the st"))  # the model's distribution
q = softmax(drafts[2].forward(start[None])[0][0, -1].astype(np.float64))  # the draft's

# %% [markdown]
# **How not to do it.** Let $p$ be the model's distribution at a place, and $q$ the draft's. The draft drew a token $x$
# from $q$. Keep it with the probability $p(x)$ that the model gives it; else draw one from $p$. It sounds fair. Try it
# 50,000 times, and ask a statistical test: its *p-value* says how often draws that really come from $p$ would differ
# from it at least as much. Below 0.001, do not believe that they come from $p$.


# %%
def draw(probabilities, n, seed):
    return np.random.default_rng(seed).choice(V, size=n, p=probabilities)


def test(tokens):
    """The p-value of Pearson's chi-square test of tokens against p."""
    expected = p * len(tokens)
    rare = expected < max(5, expected.min() * 1.01)  # counted together: the test needs five of each
    observed = np.bincount(tokens, minlength=V)
    return chisquare(*(np.append(counts[~rare], counts[rare].sum()) for counts in (observed, expected))).pvalue


n = 50_000
drafted, chance, again = draw(q, n, 1), np.random.default_rng(2).random(n), draw(p, n, 3)
unfair = np.where(chance < p[drafted], drafted, again)
print(f"p-value {test(unfair):.1e}; of plain draws from p: {test(again):.2f}")

# %% [markdown]
# The result is not distributed as $p$: tokens that are likely under both come too often. Leviathan et al. (2022) found
# the right rule. Keep a drafted token $x$ with probability
#
# $$\min\left(1, \frac{p(x)}{q(x)}\right).$$
#
# Where the draft is too shy ($q < p$), all it drafts is kept. Where it is too keen ($q > p$), just so much is dropped
# that $p(x)$ remains. In place of a dropped token, draw one from what is still missing: the distribution proportional
# to $\max(0, p - q)$.
#
# **Exercise 3.** Write both, for all tokens at once: the array of probabilities of keeping each token, and the
# distribution from which a dropped token is replaced.

# %% tags=["folded"]
accepting = Exercise(
    "speculate",
    reference=lambda p, q: (np.minimum(1, p / q), np.maximum(0, p - q) / np.maximum(0, p - q).sum()),
    inputs={"p": np.array([0.4, 0.1, 0.3, 0.05, 0.15]), "q": np.array([0.2, 0.25, 0.25, 0.2, 0.1])},
    hints=[
        "Two arrays: the probability of keeping each token, and the distribution of the replacement.",
        "np.minimum and np.maximum work element by element.",
        "np.minimum(1, p / q), and np.maximum(0, p - q) divided by its sum.",
    ],
    advice={
        "all are 0.3 times": "Probabilities add up to 1.",
        "Result 0: element (0,) is 2": "A probability is at most 1.",
        "Result 0": "p is the model's, q the draft's. Where the draft is too keen, q > p, some of its tokens must go.",
        "Result 1": "What is still missing is where p > q. Elsewhere there is too much already: nothing may be added.",
    },
)


# %% tags=["exercise"]
def speculate(p, q): ...  # your turn: keep (V,), replacement (V,)


accepting.check(speculate)


# %% tags=["solution"]
def speculate(p, q):
    missing = np.maximum(0, p - q)
    return np.minimum(1, p / q), missing / missing.sum()


accepting.check(speculate)

# %% tags=["hidden"]
accepting.expect(lambda p, q: (np.minimum(1, p / q), np.maximum(0, p - q)), "add up to 1")
accepting.expect(lambda p, q: (p / q, np.maximum(0, p - q) / 0.3), "at most 1")
accepting.expect(lambda p, q: (np.minimum(1, q / p), np.maximum(0, p - q) / 0.3), "too keen")
accepting.expect(lambda p, q: (np.minimum(1, p / q), abs(p - q) / abs(p - q).sum()), "still missing")
accepting.expect(lambda p, q: (np.minimum(1, p / q), p), "still missing")
accepting.expect(lambda p, q: None, "not written yet")

# %%
keep, replacement = speculate(p, q)
fair = np.where(chance < keep[drafted], drafted, draw(replacement, n, 4))

figure, axes = plt.subplots(figsize=(9.5, 3.8))
order = np.argsort(-p)[:12]
series = {"the draft, q": (q, GREY), "kept with p (wrong)": (np.bincount(unfair, minlength=V) / n, YELLOW)}
series |= {"kept with min(1, p/q)": (np.bincount(fair, minlength=V) / n, BLUE)}
for i, (name, (share, color)) in enumerate(series.items()):
    axes.bar(np.arange(12) + 0.26 * (i - 1), share[order], 0.26, color=color, label=name)
axes.hlines(p[order], np.arange(12) - 0.42, np.arange(12) + 0.42, color=RED, lw=2, label="the model, p")
axes.set(xticks=range(12), xticklabels=[letters[i] for i in order], ylabel="share of 50,000 draws")
axes.set(xlabel="next character after “in the st”")
axes.legend()
plt.show()

# %% [markdown]
# The blue bars reach the red lines, the yellow ones do not. The p-value is now {{ test(fair):.2f | ≥ 0.001 }}; of the
# wrong rule it was {{ test(unfair):.0e | ≤ 1e-6 }}. And the rule is exact, for every draft: token $v$ is drafted and
# kept with probability $q(v) \min(1, p(v)/q(v)) = \min(p(v), q(v))$, and the replacement adds $\max(0, p(v) - q(v))$.
# Together that is $p(v)$.
#
# A bad draft costs only speed. A token is kept with probability $\alpha = \sum_v \min(p(v), q(v))$. If that were the
# same everywhere, a pass that checks $k$ drafted tokens would give
#
# $$1 + \alpha + \alpha^2 + \dots + \alpha^k = \frac{1 - \alpha^{k + 1}}{1 - \alpha}$$
#
# tokens on average: there is always one more, the replacement or, if all are kept, one from the model's own
# distribution. Compare this with minitrain's speculative decoding.

# %%
starts = [window[:20] for window in windows[::10][:12]]


def passes(draft, k):
    """Tokens per pass of the model, and the share of drafted tokens that was kept."""
    asked = [SamplingParams(max_new_tokens=60, seed=i) for i in range(len(starts))]
    results = speculative_generate(model, starts, asked, draft=draft, draft_tokens=k, max_draft_tokens=None)
    drafted, accepted = sum(r.drafted for r in results), sum(r.accepted for r in results)
    return 1 + accepted / sum(r.passes for r in results), accepted / drafted


figure, axes = plt.subplots(figsize=(7, 3.8))
speed = {}
for (context, draft), color in zip(drafts.items(), (GREY, YELLOW, BLUE), strict=True):
    measured = {k: passes(draft, k) for k in (1, 2, 4, 8)}
    speed[context], alpha = measured[4][0], measured[1][1]
    k = np.arange(0, 9)
    line = "--" if context == 3 else "-"
    axes.plot(k, (1 - alpha ** (k + 1)) / (1 - alpha), line, color=color, label=f"{context}: α = {alpha:.2f}")
    axes.plot(measured.keys(), [tokens for tokens, _ in measured.values()], "o", color=color)
axes.set(xlabel="tokens drafted for each pass, k", ylabel="tokens per pass of the model", ylim=(0.9, None))
axes.legend(title="characters that\nthe table looks at")
plt.show()

# %% [markdown]
# Lines are the formula, with the $\alpha$ that was measured at $k = 1$; points are measured. A look into a table
# needs no arithmetic at all, and already the last two characters give {{ speed[2]:.1f | 2.6 ± 0.5 }} tokens per pass
# at $k = 4$. A long draft gains little: to keep the eighth token, all seven before it must be right.
#
# At temperature 0 the rule says: keep a drafted token if it is the most likely one. Then the text is that of greedy
# decoding, whatever the draft. Even copying works: `PromptLookup` looks for the last tokens earlier in the text, and
# drafts what followed there. In a loop, that is right from the second round on.

# %%
greedily = SamplingParams(temperature=0, max_new_tokens=100)
plain = [result.tokens for result in batch_generate(model, starts, greedily)]
for name, draft in {"table": drafts[3], "lookup": PromptLookup()}.items():
    results = speculative_generate(model, starts, greedily, draft=draft)
    same = all(np.array_equal(a.tokens, b) for a, b in zip(results, plain, strict=True))
    per_pass = 100 * len(starts) / sum(r.passes for r in results)
    print(f"{name:8} {per_pass:.1f} tokens per pass; same text as greedy: {same}")

# %% [markdown]
# ## The same prompt, another text
#
# Ask a service the same question twice at temperature 0, and you may get two answers. There are no dice in greedy
# decoding. Where does the difference come from? From this:

# %%
print((0.1 + 0.2) + 0.3 == 0.1 + (0.2 + 0.3))

# %% [markdown]
# Floating-point numbers are rounded after every addition, so the *order* of a sum matters. Here is one million
# numbers, added as a machine with several threads might do: each thread adds one piece, then the pieces are added.


# %%
def in_pieces(terms, pieces, dtype):
    """Sums over the last axis: each piece from left to right, then the pieces; rounded after each addition."""
    parts = terms.astype(dtype).reshape(*terms.shape[:-1], pieces, -1)
    sums = np.add.accumulate(parts, axis=-1, dtype=dtype)[..., -1]
    return np.add.accumulate(sums, axis=-1, dtype=dtype)[..., -1]


numbers = np.random.default_rng(0).standard_normal(1_000_000)
for pieces in (1, 2, 4, 8, 16):
    print(f"{pieces:2} pieces: {in_pieces(numbers, pieces, np.float32):.6f}")

# %% [markdown]
# None of them is wrong. A library chooses the order by what is fast: by the number of threads, by the shape of the
# matrices, so by how many *other* texts are in the batch. The last bits of the logits depend on it. When does that
# change a text? When the two best tokens are so close that rounding decides between them. How often is that? Look at
# some thousand places of the held-out text, and compute the logits of each in several orders, in float32 and in
# bfloat16, the 16-bit format of most language models.

# %%
(hidden, _), W = model.forward_hidden(windows[:, :-1]), model.head.weight.data  # (150, 127, C), (V, C)
hidden = hidden.reshape(-1, W.shape[1])[::4]  # (N, C)
gap, error, flips = {}, {}, {}
for dtype in (np.float32, bfloat16):
    orders = []
    for pieces in (1, 2, 4, 8):
        logits = [in_pieces(some[:, None] * W, pieces, dtype) for some in np.array_split(hidden, 8)]
        orders.append(np.concatenate(logits).astype(np.float64))  # (N, V)
    best_two = np.sort(orders[0], axis=1)[:, -2:]
    gap[dtype] = best_two[:, 1] - best_two[:, 0]
    error[dtype] = abs(orders[0] - orders[3]).max(axis=1)
    flips[dtype] = np.mean([order.argmax(axis=1) != orders[0].argmax(axis=1) for order in orders], axis=1)[1:]

figure, axes = plt.subplots(figsize=(8, 3.6))
axes.hist(gap[np.float32], bins=np.logspace(-7.5, 1.5, 80), color=BLUE)
for dtype, color in ((np.float32, GREEN), (bfloat16, RED)):
    typical = np.median(error[dtype])
    axes.axvline(typical, color=color, lw=2)
    name = f"order of sums\nin {np.dtype(dtype)} "
    axes.text(typical, axes.get_ylim()[1] * 0.9, name, color=color, ha="right", va="top")
axes.set(xscale="log", xlabel="gap between the two best logits", ylabel="places in the text")
plt.show()
print("another best token than in 1 piece, in 2, 4 and 8 pieces:")
for dtype, shares in flips.items():
    print(f"{np.dtype(dtype)}: {'  '.join(f'{share:.3%}' for share in shares)}")

# %% [markdown]
# The vertical lines show by how much the order changes a logit (the median of the largest change at each place). In
# bfloat16 that is enough to change the best token in {{ 100 * flips[bfloat16][2]:.2f | 1.4 ± 1.2 }} % of all places.
# In float32 the gap must be tens of thousands of times smaller; {{ 1e6 * flips[np.float32].max():.0f | ≤ 500 }} in a
# million places flipped here. Rare is not
# never: a busy service writes millions of tokens. And one flip is enough, since everything after it is
# written in another context. Let us write the same 72 texts greedily in two orders of the last product, in bfloat16.


# %%
def write(starts, pieces, dtype, n=60):
    """Greedy texts, with the head's sums in so many pieces: tokens (B, T0) to (B, T0 + n)."""
    texts = starts
    for _ in range(n):
        hidden, _ = model.forward_hidden(texts)
        logits = in_pieces(hidden[:, -1:] * W, pieces, dtype)  # (B, V)
        texts = np.concatenate([texts, logits.argmax(axis=1)[:, None].astype(texts.dtype)], axis=1)
    return texts


starts72 = windows[:72, :24]
part = {}
for dtype in (np.float32, bfloat16):
    different = write(starts72, 1, dtype)[:, 24:] != write(starts72, 8, dtype)[:, 24:]
    part[dtype] = np.where(different.any(axis=1), different.argmax(axis=1), 60)

figure, axes = plt.subplots(figsize=(8, 3.2))
length = np.sort(part[bfloat16])[::-1]
axes.bar(range(72), length, color=BLUE, label="the same in both orders")
axes.bar(range(72), 60 - length, bottom=length, color=RED, label="different")
axes.set(xlabel="72 texts, sorted", ylabel="place (characters)", xticks=[], ylim=(0, 72))
axes.legend(ncol=2, loc="upper center")
plt.show()
print(f"different texts: {(part[bfloat16] < 60).sum()} of 72 in bfloat16, {(part[np.float32] < 60).sum()} in float32")

# %% [markdown]
# {{ (part[bfloat16] < 60).sum() | ≥ 3 }} of 72 texts became others, and only the last of all sums had another order.
# Thinking Machines (2025) asked a large model the same question 1,000 times, at temperature 0, and counted 80
# different answers. Sampling is no better, even with the same random numbers: if $u$ falls near the border between
# two tokens, rounding decides on which side.
#
# ## The same bytes, everywhere
#
# It need not be so. It is enough that the order of each sum is fixed, and does not depend on the batch, the cache or
# the number of threads. minitrain's own product sums each element of a product in one order, and attention sums over
# keys in blocks counted from the beginning of the text. The result has the same bits whichever way it is computed.
# Let us see. These are the logits after 90 characters. (The last line is NumPy's product, which promises no such
# thing.)


# %%
def by_session(session, *parts):
    for part in parts:
        logits = session.extend({0: part})
    return logits[0]


story = windows[7, :90]
reference = model.forward(story[None])[0][0, -1]
ways = {
    "the whole text, no cache": by_session(UncachedSession(model, 1), story),
    "with a cache": by_session(session_for(model), story),
    "with a cache, in parts of 40, 1 and 49": by_session(session_for(model), *np.split(story, [40, 41])),
    "with a cache, one by one": by_session(session_for(model), *np.split(story, 90)),
    "beside 15 other texts": model.forward(np.concatenate([windows[:15, :90], story[None]]))[0][-1, -1],
    "with 37 more characters after it": model.forward(windows[7:8, :127])[0][0, 89],
}
mt.backend.set_threads(1)
ways["with one thread"] = model.forward(story[None])[0][0, -1]
mt.backend.set_threads(None)
for name, logits in ways.items():
    print(f"{name:40} {'same bytes' if logits.tobytes() == reference.tobytes() else 'other bytes'}")

last = model.forward_hidden(windows[:16, :90])[0][:, -1]  # (16, C)
others = np.count_nonzero((last @ W.T)[0] != last[0] @ W.T)
print(f"\nNumPy's product of a row, alone and among 16: {others} of {V} logits differ")

# %% tags=["hidden"]
from minitrain.backend.product_choice import in_use

if in_use()["float32"].name == "own":  # elsewhere the promise is not made
    assert all(logits.tobytes() == reference.tobytes() for logits in ways.values())

# %% [markdown]
# So the text of a prompt does not depend on who else asks at the same time. The random number of a token is a
# function of the seed and of the token's position, and so the same holds for samples:

# %%
asked = SamplingParams(max_new_tokens=100, seed=5, top_p=0.9)
(alone,) = batch_generate(model, [starts[0]], asked)
busy = batch_generate(
    model, starts, [asked] + [SamplingParams(max_new_tokens=40 + i, seed=i) for i in range(11)], slots=5
)
print("the same text alone and beside 11 others:", np.array_equal(alone.tokens, busy[0].tokens))

# %% tags=["hidden"]
if in_use()["float32"].name == "own":
    assert np.array_equal(alone.tokens, busy[0].tokens)

# %% [markdown]
# The promise is for one kind of processor instructions: minitrain's own product needs AVX2 or AVX-512, and elsewhere
# it uses a library, whose order it does not know. Between two kinds of processors, last bits may still differ.
#
# ## Questions
#
# 1. Top-p with $p = 0.9$ at temperature 0.5: does it matter whether the temperature comes first? Draw a distribution
#    where the two orders keep different tokens.
# 2. The penalty against repetition lowers the logits of tokens that were used. Which texts does it spoil? (Think of
#    code, and of the letter e.)
# 3. A cache makes each token cheaper. Does it help while the *prompt* is read? What limits the speed there?
# 4. The table of three characters predicts held-out text much better than that of two. Yet the model keeps about as
#    many tokens of each. What must a draft be like: the text, or the model?
# 5. A draft model is 10 times smaller, and its tokens are kept with $\alpha = 0.8$. A pass over $k + 1$ places costs
#    as much as a pass over one. Which $k$ is best? And if the processor is already busy with 64 other texts?
#
# ## Further reading
#
# - Holtzman et al., 2019, *The Curious Case of Neural Text Degeneration*, arXiv:1904.09751: top-p, and real text
#   beside the likeliest one.
# - Fan et al., 2018, *Hierarchical Neural Story Generation*, arXiv:1805.04833: top-k. Nguyen et al., 2024, *Turning
#   Up the Heat*, arXiv:2407.01082: min-p.
# - Meister et al., 2020, *If Beam Search is the Answer, What was the Question?*, arXiv:2010.02650.
# - Leviathan et al., 2022, *Fast Inference from Transformers via Speculative Decoding*, arXiv:2211.17192; Chen et
#   al., 2023, *Accelerating Large Language Model Decoding with Speculative Sampling*, arXiv:2302.01318.
# - Pope et al., 2022, *Efficiently Scaling Transformer Inference*, arXiv:2211.05102: what the cache costs.
# - Thinking Machines, 2025, *Defeating Nondeterminism in LLM Inference*.
# - minitrain's pages on [generation](../generation.md) and [searches](../search.md).
# - The next notebook: [grokking](11_grokking.md).
