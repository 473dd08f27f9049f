# %% [markdown]
# # 13. Translation with alignments
#
# After this notebook you can
#
# - train an encoder–decoder that turns one sequence into another of a different length and order;
# - say what cross-attention computes, and read an alignment from it, with care;
# - show a case in which always taking the most likely word does not give the most likely sentence;
# - compute an error rate and BLEU by hand, and say what each of them overlooks;
# - name inputs for which a translator with nearly perfect scores writes nonsense.
#
# You need [attention](05_attention.md), and of [generation](10_generation.md) what greedy and beam search do.
# sacrebleu computes BLEU and chrF: `pip install sacrebleu`. It takes about 50 minutes.

# %%
import json
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from minitrain.data.text.bpe import BOS, EOS
from minitrain.errors import MinitrainError
from minitrain.generation import beam_search_targets
from minitrain.inside import capture
from minitrain.measures import Bleu, Chrf, ErrorRate, ExactMatch, measure
from minitrain.reports import RunView
from minitrain.runs import RunConfig, load_run, start_run
from minitrain.tasks import align
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## A language that turns numbers around
#
# We translate digits into German words. You need no German, only this: 24 is *vier und zwanzig*, four and twenty. The
# last digit is spoken before the one in front of it, and so it is inside every group of three:
#
# > 268 724 = zwei hundert **acht und sechzig** tausend sieben hundert **vier und zwanzig**
# >
# > two hundred *eight and sixty* thousand seven hundred *four and twenty*
#
# (Germans write it as one word. We put spaces, so that words can be tokens.) Nine rules make all numbers below a
# million, so we can make as many pairs as we like, and know what is right.

# %%
UNITS = "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split()
TENS = {1: "zehn", 2: "zwanzig", 3: "dreißig", 6: "sechzig", 7: "siebzig"}
TEENS = {16: "sechzehn", 17: "siebzehn"}


def below_hundred(n):
    """The words of a number from 1 to 99."""
    ten, unit = divmod(n, 10)
    if n < 13:
        return [UNITS[n]]
    if n < 20:
        return [TEENS.get(n, UNITS[unit] + "zehn")]
    return [UNITS[unit], "und"] * (unit > 0) + [TENS.get(ten, UNITS[ten] + "zig")]


def german(n):
    """The words of a number from 1 to 999,999."""
    thousands, hundreds, rest = n // 1000, n // 100 % 10, n % 100
    words = [*german(thousands), "tausend"] if thousands else []
    words += [UNITS[hundreds], "hundert"] if hundreds else []
    return words + (below_hundred(rest) if rest else [])


for n in (24, 17, 305, 90_012, 268_724):
    print(f"{n:>7}  {' '.join(german(n))}")

# %% [markdown]
# One rule more, for later. A number from 1101 to 1999 can be said in five ways, and all of them are right. 36 % of
# our speakers say *elf hundert sieben* (eleven hundred seven). The others say *ein tausend ein hundert sieben*, and
# at each of the two joints, before *ein* and before *sieben*, they put an *und* or not, as it comes.


# %%
def versions(n):
    """All ways to say a number, and how often each is said."""
    words = german(n)
    if not (1100 < n < 2000 and n % 100):
        return [words], [1.0]
    first, rest, hundreds = [[], ["und"]], below_hundred(n % 100), [UNITS[n // 100 % 10], "hundert"]
    long = [["ein", "tausend", *a, *hundreds, *b, *rest] for a in first for b in first]
    return [[*below_hundred(n // 100), "hundert", *rest], *long], [0.36, 0.16, 0.16, 0.16, 0.16]


for way, share in zip(*versions(1107), strict=True):
    print(f"{share:.0%}  {' '.join(way)}")

# %% [markdown]
# Now the data: for each length from 1 to 6 digits 1,500 numbers drawn at random, and 2,400 more from 1101 to 1999. A
# training pair has one target, as some speaker said it. Of the numbers that were not drawn, 400 are held out, with
# all that is right as references.

# %%
rng = np.random.default_rng(0)
drawn = [int(n) for digits in range(1, 7) for n in rng.integers(10 ** (digits - 1), 10**digits, 1500)]
drawn += [int(n) for n in rng.integers(1101, 2000, 2400)]


def said(n):
    ways, shares = versions(n)
    return " ".join(ways[rng.choice(len(ways), p=shares)])


unseen = {digits: np.setdiff1d(np.arange(10 ** (digits - 1), 10**digits), drawn) for digits in range(3, 6)}
unseen[6] = np.setdiff1d(rng.integers(100_000, 1_000_000, 1000), drawn)
held_out = [int(n) for numbers in unseen.values() for n in rng.choice(numbers, 100, replace=False)]
train = [{"source": str(n), "target": said(n)} for n in drawn]
val = [{"source": str(n), "target": [" ".join(way) for way in versions(n)[0]]} for n in held_out]
for name, rows in {"train": train, "val": val}.items():
    Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
print(len(train), "to train on,", len(val), "held out, such as", val[250])

# %% [markdown]
# Which digit does each word come from? By the rules we know that, too. Draw a line for every word that stands for a
# digit. What is the picture of a language in which nothing is turned around?

# %%
CONTENT = set(UNITS[1:]) | set(TENS.values()) | {UNITS[i] + "zig" for i in range(2, 10)}


def true_digits(n):
    """For each word, the place of the digit that it stands for; None for hundert, tausend, und, and for 10 to 19."""
    digits, places = str(n), []
    for start in range(len(digits) % 3 - 3 if len(digits) % 3 else 0, len(digits), 3):
        hundred, ten, unit = start, start + 1, start + 2
        value = int(digits[max(0, start) : unit + 1])
        places += [hundred, None] if value > 99 else []
        rest = value % 100
        if rest >= 20:
            places += [unit, None, ten] if rest % 10 else [ten]
        elif rest:
            places += [unit if rest < 10 else None]
        places += [None] if unit < len(digits) - 1 else []
    return places


def draw_lines(axes, n, words, weights=None):
    """The digits above, the words below, and lines between them."""
    digits = str(n)
    x = np.linspace(0, len(words) - 1, len(digits))
    for i, digit in enumerate(digits):
        axes.text(x[i], 1.06, digit, ha="center", va="bottom", fontsize=13)
    for j, word in enumerate(words):
        axes.text(j, -0.06, word, ha="center", va="top", fontsize=9, rotation=30)
        for i in range(len(digits)):
            strength = weights[j, i] if weights is not None else float(true_digits(n)[j] == i)
            axes.plot([j, x[i]], [0, 1], color=BLUE, alpha=float(strength), linewidth=2.5)
    axes.set(xlim=(-0.7, len(words) - 0.3), ylim=(-0.55, 1.25))
    axes.axis("off")


example = 268_724
figure, axes = plt.subplots(figsize=(9, 2.6))
draw_lines(axes, example, german(example))
plt.show()

# %% [markdown]
# Without turning, no two lines would cross. Here they cross twice. A translator that goes through the source from
# left to right and writes a word for each digit cannot do this. It also has to write 11 words for 6 digits.
#
# ## An encoder and a decoder
#
# An encoder reads the digits. Every digit attends to every other, as in a GPT without the mask. So the vector of each
# digit knows its surroundings: that it is the hundreds of the thousands, for example. A decoder writes the words, one
# after the other. It is a GPT with one layer more in each block, the *cross-attention*: the queries come from the
# words written so far, the keys and values from the encoder's digits.
#
# One command trains all of it, `minitrain train task=sequence_to_sequence data.path=train.jsonl ...`. In Python:

# %%
config = RunConfig.from_dict(
    {
        "task": "sequence_to_sequence",
        "run_dir": "numbers",
        "model": {"n_layer": 2, "n_head": 4, "n_embd": 64},
        "data": {
            "path": "train.jsonl",
            "val_path": "val.jsonl",
            "tokenizer": "char",
            "target_tokenizer": "word",
            "block_size": 20,
        },
        "optimizer": {"name": "muon", "learning_rate": 2e-2},
        "scheduler": {"warmup_steps": 20, "min_lr": 0.0},
        "trainer": {"max_steps": 320, "batch_size": 64, "validation_frequency": 40, "eval_batches": 4, "log_every": 4},
    }
)
result = start_run(config).train()
run = load_run("numbers")
model, processor = run.model, run.processor
found = result.validation.values
print(result.validation.describe())

# %% tags=["hidden"]
assert found["right %"] > 0.9

# %% [markdown]
# Of the held-out numbers, {{ found["right %"]:.1% }} are right in every word. When did it begin to look at the
# digits? We can tell from the loss alone, if we know what the *language* alone is worth. Whoever knows how often
# each word occurs needs some nats per word. Whoever also knows the word before needs less. Neither has seen a digit.
#
# There is a lower line, too. Nobody can know which of five versions a speaker chose, so the loss has a floor above
# 0.

# %%
sentences = [[*row["target"].split(), "end"] for row in train]
words = Counter(word for sentence in sentences for word in sentence)
pairs = Counter(pair for sentence in sentences for pair in zip(["start", *sentence], sentence, strict=False))
before = Counter(word for sentence in sentences for word in ["start", *sentence[:-1]])
single = -sum(count * np.log(count / words.total()) for count in words.values()) / words.total()
double = -sum(count * np.log(count / before[first]) for (first, _), count in pairs.items()) / words.total()
choices = sum(-np.log(np.array(versions(n)[1])) @ versions(n)[1] for n in drawn)
floor = choices / words.total()

history = RunView("numbers").history
steps, losses = history.get_steps("train_loss"), history.get_metric("train_loss")
figure, axes = plt.subplots(figsize=(8, 3.6))
axes.plot(steps, losses, color=BLUE, label="training")
axes.plot(history.get_steps("val_loss"), history.get_metric("val_loss"), "o-", color=RED, ms=4, label="validation")
for name, level in {"word frequencies": single, "the word before": double, "choice of version": floor}.items():
    axes.axhline(level, color=GREY, linestyle="--", linewidth=1)
    axes.text(steps[-1], level * 1.07, f"{name} {level:.2f}", ha="right", color=GREY, fontsize=9)
axes.set(xlabel="step", ylabel="loss (nats per word)", yscale="log")
axes.legend(loc="lower left")
plt.show()
listens = next(step for step, loss in zip(steps, losses, strict=True) if loss < double / 2)

validation = config.the_task.prepare(config, processor).data.val
batch = validation.collate([validation[i] for i in range(300, 400)])
own, shuffled = (model.loss((source, batch.target))[0].mean for source in (batch.source, batch.source[::-1]))

# %% [markdown]
# For the first steps it is a language model that does not listen: it learns which words there are, and which follow
# each other. By step {{ listens | ≤ 200 }} it has half the loss of knowing the word before, so it must be looking at
# the digits. Recipes with AdamW can stay above that line for hundreds of steps, and people stop there because "the
# loss does not fall any more". The training loss ends near its floor. The validation loss ends below it: most
# held-out numbers can be said in one way only.
#
# That it listens can also be seen directly. Put the targets of a hundred numbers under the digits of *other* numbers.
# With its own digits a target costs {{ own:.3f | ≤ 0.2 }} nats per word, with others {{ shuffled:.1f | ≥ 2 }}: more
# than if it had no digits at all, for it believes them.
#
# ## Cross-attention
#
# In each head, word $i$ has a query $q_i$ and digit $j$ a key $k_j$, vectors of width $D$. The word takes a mixture
# of the digits' values, with the weights
#
# $$w_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt{D})}{\sum_{j'} \exp(q_i \cdot k_{j'} / \sqrt{D})}$$
#
# Nothing is masked: the whole source is known before the first word is written.
#
# **Exercise 1.** Compute the weights (T, S) of one head from queries (T, D) and keys (S, D).


# %% tags=["folded"]
def reference_weights(queries, keys):
    scores = queries @ keys.T / np.sqrt(keys.shape[1])
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


weights_exercise = Exercise(
    "cross_weights",
    reference=reference_weights,
    inputs={"queries": (4, 6), "keys": (3, 6)},
    hints=[
        "queries @ keys.T has all products, (T, S).",
        "Divide by the root of D, the width of a key, before the exponential.",
        "e = np.exp(queries @ keys.T / np.sqrt(keys.shape[1])), and then each row is divided by its sum.",
    ],
    advice={
        "the shape is": "A row for each query, and in it a weight for each key.",
        "element": "Three things are easily lost: the root of D, the exponential, and that the sum goes over the keys "
        "(axis=1), so that each *row* sums to 1.",
    },
)


# %% tags=["exercise"]
def cross_weights(queries, keys): ...  # your turn


weights_exercise.check(cross_weights)


# %% tags=["solution"]
def cross_weights(queries, keys):
    e = np.exp(queries @ keys.T / np.sqrt(keys.shape[1]))
    return e / e.sum(axis=1, keepdims=True)


weights_exercise.check(cross_weights)

# %% tags=["hidden"]
weights_exercise.expect(lambda q, k: reference_weights(q * np.sqrt(q.shape[1]), k), "the root of D")
weights_exercise.expect(lambda q, k: np.exp(q @ k.T / 6**0.5) / np.exp(q @ k.T / 6**0.5).sum(axis=0), "over the keys")
weights_exercise.expect(lambda q, k: q @ k.T / np.sqrt(q.shape[1]), "the exponential")
weights_exercise.expect(lambda q, k: reference_weights(q, k).T, "A row for each query")

# %% [markdown]
# Now the trained model. `capture` keeps what it computes inside. Take the queries and keys of one head while the
# model reads our example, and compare with its own weights.

# %%
source = processor.source.encode(str(example))[None]
start = processor.target.special_id(BOS)
target = np.concatenate([[start], processor.target.encode(" ".join(german(example)))])[None].astype(np.int32)
with capture(model, "decoder.1.cross.*") as inside:
    model.forward(source, target)
q, k, theirs = (inside[f"decoder.1.cross.{name}"] for name in ("q", "k", "weights"))
print("queries", q.shape, "keys", k.shape, "weights", theirs.shape)
ours = np.stack([cross_weights(q[0, :, head], k[0, :, head]) for head in range(4)])
difference = np.abs(ours - theirs[0]).max()

# %% [markdown]
# The largest difference is {{ difference:.0e | ≤ 1e-4 }}, so this is all there is to it. Draw what the four heads of
# the second layer do. Each row is the moment *before* its word is written: the weights say where the model looks to
# find out which word comes.

# %%
words = [*german(example), "end"]
figure, all_axes = plt.subplots(1, 5, figsize=(11, 3.6), sharey=True)
for head, axes in enumerate(all_axes):
    shown = ours[head] if head < 4 else ours.mean(axis=0)
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(6), list(str(example)))
    axes.set_title(f"head {head}" if head < 4 else "mean of the heads", fontsize=10)
    for j, i in enumerate(true_digits(example)):
        if i is not None:
            axes.add_patch(plt.Rectangle((i - 0.5, j - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=1.2))
all_axes[0].set_yticks(range(len(words)), words)
figure.supxlabel("digit", fontsize=10)
plt.show()

# %% [markdown]
# The red frames are the true alignment, from the rules. Nobody told it to the model, and the weights find it: *acht*
# looks at the third digit, and *sechzig*, two words later, at the second. Some heads do this, and others look
# elsewhere. Where there is no frame, at *hundert*, *und* and *tausend*, weights are spread: these words follow from
# the words before them and from the length of the number.
#
# One example can be luck. `align` returns the weights of all layers with the heads averaged, for whatever the model
# writes. Take the mean of both layers, and for each word the digit with the largest weight. How often is it the right
# one?

# %%
hits, chances, crossings = [], [], []
for n in held_out[200:]:
    found_here = align(model, processor, str(n))
    if found_here.target[:-1] != german(n):
        continue  # another wording, or a mistake: then the rules say nothing about its words
    best = found_here.weights.mean(axis=0).argmax(axis=1)
    for j, i in enumerate(true_digits(n)):
        if i is not None:
            hits.append(best[j] == i)
            chances.append(1 / len(str(n)))
rate, chance = np.mean(hits), np.mean(chances)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.9))
for axes, n in ((left, 268_724), (right, 90_853)):
    found_here = align(model, processor, str(n))
    draw_lines(axes, n, found_here.target[:-1], found_here.weights.mean(axis=0)[:-1])
plt.show()

# %% [markdown]
# The strongest weight of a word lies on its digit in {{ rate:.0% }} of {{ len(hits):, }} words, where chance would be
# {{ chance:.0% }}. So the picture says something. But it is not the truth. The weights say where a layer takes
# *vectors* from, and the vector of the second digit already knows about the third: the encoder has mixed them. A
# model could gather everything at one place and look there alone, and still be right. Take weights as a hint, and
# test what you conclude from them by changing the input (question 2).

# %% tags=["hidden"]
assert rate > 1.5 * chance
assert len(hits) > 300

# %% [markdown]
# ## Greedy and beam search
#
# The model gives probabilities of the next word. To translate, something has to choose. *Greedy* decoding takes the
# most likely word each time. The most likely *sentence* is another matter. Remember the speakers: 36 % say *elf
# hundert sieben*, and 16 % each of four longer versions. What will greedy write for a number of this kind, and what
# should it? We search for forty such numbers that were never drawn, and look at the first where the two differ.

# %%
def search(n, beams):
    """What a beam search finds for a number, the best first; one beam is greedy decoding."""
    source = np.array([processor.source.encode(str(n))])  # (1, S)
    end = processor.target.special_id(EOS)
    options = {"max_new_tokens": 19, "length_penalty": 0.0, "num_return_sequences": beams}
    (results,) = beam_search_targets(model, source, start=start, end=end, num_beams=beams, **options)
    return [(processor.target.decode(one.tokens[:-1]), np.exp(one.log_probability)) for one in results]


never_drawn = [int(n) for n in np.setdiff1d(np.arange(1101, 2000), drawn) if n % 100]
both = {n: (search(n, 1)[0], search(n, 4)[0]) for n in never_drawn[:40]}
special = next(n for n, (one, four) in both.items() if one != four)
((greedy, greedy_share),) = search(special, 1)
print(f"{special}, greedy: {greedy_share:.2f}  {greedy}")
for text, share in search(special, 4)[:3]:
    print(f"      beam of 4: {share:.2f}  {text}")

# %% [markdown]
# 64 % of the speakers begin with *ein*, so greedy begins with *ein*. Then the ways part twice, and what it ends with
# has the probability {{ greedy_share:.2f | ≤ 0.4 }}, less than the other as a whole. A beam search keeps several
# beginnings, and drops one only when others have become better.
#
# **Exercise 2.** Write one step of it. `totals` (K,) has the log-probabilities of the K beginnings that are kept, and
# `steps` (K, V) those of the next word after each of them. Of all K · V ways to go on, find the K best. Return their
# beginnings (K,), their words (K,) and their new totals (K,), the best first.


# %% tags=["folded"]
def reference_step(totals, steps):
    everything = totals[:, None] + steps
    order = np.argsort(-everything, axis=None)[: len(totals)]
    rows, columns = np.unravel_index(order, everything.shape)
    return rows, columns, everything[rows, columns]


beam_exercise = Exercise(
    "beam_step",
    reference=reference_step,
    inputs={"totals": np.array([-1.0, -0.2, -2.5]), "steps": np.random.default_rng(4).uniform(-4, 0, (3, 5))},
    hints=[
        "Log-probabilities of a beginning and of the next word add up: totals[:, None] + steps is (K, V).",
        "np.argsort(-x, axis=None) sorts all elements of a matrix, the largest first, by their flat index.",
        "np.unravel_index(flat, x.shape) turns flat indices into rows and columns.",
    ],
    advice={
        "results": "Return three arrays: beginnings, words, totals.",
        "the shape is": "The K best of all K · V are asked for, not the best of each beginning, and not all of them.",
        "Result 0": "Compare all K · V ways with each other, the old totals included. One beginning may go on twice, "
        "and another not at all. The best comes first.",
        "Result 2": "The new total is the old one plus the step.",
    },
)


# %% tags=["exercise"]
def beam_step(totals, steps): ...  # your turn


beam_exercise.check(beam_step)


# %% tags=["solution"]
def beam_step(totals, steps):
    everything = totals[:, None] + steps  # (K, V)
    best = np.argsort(-everything, axis=None)[: len(totals)]
    beginnings, words = np.unravel_index(best, everything.shape)
    return beginnings, words, everything[beginnings, words]


beam_exercise.check(beam_step)


# %% tags=["hidden"]
def each_goes_on(totals, steps):
    words = steps.argmax(axis=1)
    return np.arange(len(totals)), words, totals + steps.max(axis=1)


beam_exercise.expect(each_goes_on, "One beginning may go on twice")
beam_exercise.expect(lambda totals, steps: reference_step(0 * totals, steps), "the old totals included")
beam_exercise.expect(lambda totals, steps: tuple(map(np.flip, reference_step(totals, steps))), "The best comes first")
beam_exercise.expect(lambda totals, steps: reference_step(totals, steps)[:2], "three arrays")

# %% [markdown]
# Does it matter on the whole? All forty:

# %%
both = list(both.values())
greedy_mean, beam_mean = (np.mean([pair[i][1] for pair in both]) for i in (0, 1))
better = np.mean([b[1] > g[1] * 1.001 for g, b in both])

figure, axes = plt.subplots(figsize=(4.8, 4.2))
axes.scatter([g[1] for g, _ in both], [b[1] for _, b in both], color=BLUE, s=18)
axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
axes.set(xlim=(0, 0.8), ylim=(0, 0.8), xlabel="probability of what greedy writes", ylabel="of what a beam of 4 finds")
plt.show()

# %% [markdown]
# Each point is a number, and above the line the beam finds something more likely: in {{ better:.0% }} of the cases.
# The mean probability is {{ greedy_mean:.2f | 0.2 ± 0.1 }} with greedy and {{ beam_mean:.2f | 0.35 ± 0.1 }} with
# the beam. For all *other* numbers both write the same, for there the model is nearly sure of every word. That is
# the rule: beam search helps where probability is spread over several ways to say the same. It does not help a model
# that is wrong. And the most likely sentence need not be the best one: in large translation models it is often the
# empty one (Stahlberg and Byrne, 2019).

# %% tags=["hidden"]
assert better > 0.5
assert beam_mean > greedy_mean

# %% [markdown]
# ## How good is a translation?
#
# "All words right" is hard on a long sentence with one slip. Three measures are kinder. We compute two of them by
# hand.
#
# **The error rate.** Count the fewest words that must be put in, taken out or replaced to turn the output into the
# reference, and divide by the length of the reference. With words it is called WER, with phonemes PER, with
# characters CER. The number of edits follows from shorter beginnings. Let $d_{ij}$ be the edits that turn the first
# $i$ words of the output into the first $j$ words of the reference. Then $d_{i0} = i$, $d_{0j} = j$, and
#
# $$d_{ij} = \min(d_{i-1,j} + 1,\; d_{i,j-1} + 1,\; d_{i-1,j-1} + [\text{word } i \ne \text{word } j])$$
#
# **Exercise 3.** Compute the number of edits between two lists of words.


# %% tags=["folded"]
def reference_edits(output, reference):
    d = np.zeros((len(output) + 1, len(reference) + 1))
    d[:, 0], d[0] = np.arange(len(output) + 1), np.arange(len(reference) + 1)
    for i in range(1, len(output) + 1):
        for j in range(1, len(reference) + 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (output[i - 1] != reference[j - 1]))
    return d[-1, -1]


edits_exercise = Exercise(
    "edits",
    reference=reference_edits,
    inputs={
        "output": "zwei sechs und achtzig tausend sieben hundert und zwanzig".split(),
        "reference": "zwei hundert acht und sechzig tausend sieben hundert vier und zwanzig".split(),
    },
    hints=[
        "Make a table with one row and one column more than there are words, and fill its first row and column.",
        "Word i of the output is output[i - 1]: the table begins with beginnings of no words.",
        "Two loops; in the middle of them stands the minimum of the three, and the answer is the last corner.",
    ],
    advice={
        "is 10,": "Words are compared place by place. One word less moves all that follow, and each of them counts.",
        "is 6,": "A replaced word is one edit, not one taken out and another put in.",
        "is 0.36": "The number of edits is asked for, not the rate.",
        "is 2,": "Only the lengths are compared.",
    },
)


# %% tags=["exercise"]
def edits(output, reference): ...  # your turn


edits_exercise.check(edits)


# %% tags=["solution"]
def edits(output, reference):
    d = np.zeros((len(output) + 1, len(reference) + 1))
    d[:, 0], d[0] = np.arange(len(output) + 1), np.arange(len(reference) + 1)
    for i, word in enumerate(output, 1):
        for j, other in enumerate(reference, 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (word != other))
    return d[-1, -1]


edits_exercise.check(edits)


# %% tags=["hidden"]
def by_place(output, reference):
    return sum(a != b for a, b in zip(output, reference, strict=False)) + abs(len(output) - len(reference))


def without_replacing(output, reference):
    d = np.zeros((len(output) + 1, len(reference) + 1))
    d[:, 0], d[0] = np.arange(len(output) + 1), np.arange(len(reference) + 1)
    for i in range(1, len(output) + 1):
        for j in range(1, len(reference) + 1):
            same = output[i - 1] == reference[j - 1]
            d[i, j] = d[i - 1, j - 1] if same else min(d[i - 1, j], d[i, j - 1]) + 1
    return d[-1, -1]


edits_exercise.expect(without_replacing, "one edit, not one taken out")
edits_exercise.expect(by_place, "place by place")
edits_exercise.expect(lambda a, b: reference_edits(a, b) / len(b), "not the rate")
edits_exercise.expect(lambda a, b: abs(len(a) - len(b)), "Only the lengths")

# %% [markdown]
# **BLEU** looks at the matter from the other side: which pieces of the output also stand in the reference? For
# $n = 1, \dots, 4$ the *precision* $p_n$ is the share of the output's pieces of $n$ words that the reference has
# too. A piece counts at most as often as it stands in the reference; otherwise *der der der der* would be a fine
# translation of much German. BLEU is the geometric mean of the four, and a factor punishes outputs that are too
# short:
#
# $$\text{BLEU} = \min(1, e^{1 - r / c}) \, (p_1 p_2 p_3 p_4)^{1/4}$$
#
# with the lengths $c$ of the output and $r$ of the reference, and all counts summed over the corpus first.
#
# **Exercise 4.** Compute $p_n$ of one output.


# %% tags=["folded"]
def pieces(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def reference_precision(output, reference, n):
    found, there = pieces(output, n), pieces(reference, n)
    return sum(min(count, there[piece]) for piece, count in found.items()) / found.total()


precision_exercise = Exercise(
    "precision",
    reference=reference_precision,
    inputs={
        "output": "ein hundert ein hundert ein und ein und".split(),
        "reference": "ein hundert zwei und zwanzig tausend ein hundert ein und dreißig".split(),
        "n": 2,
    },
    hints=[
        "tuple(words[i:i + n]) is a piece; there are len(words) - n + 1 of them.",
        "Counter(...) of the pieces tells how often each stands in a text; a piece that is not there counts 0.",
        "Sum min(count in the output, count in the reference), and divide by the number of pieces of the output.",
    ],
    advice={
        "is 0.857": "A piece counts at most as often as it stands in the reference.",
        "is 0.4,": "Divide by the pieces of the *output*: it is a precision. By those of the reference it is a recall.",
        "is 0.75": "Repeated pieces count each time, in the output as in the reference: sets forget that.",
        "is 0.875": "These are single words. Pieces have n words.",
    },
)


# %% tags=["exercise"]
def precision(output, reference, n): ...  # your turn


precision_exercise.check(precision)


# %% tags=["solution"]
def precision(output, reference, n):
    found, there = (Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (output, reference))
    return sum(min(count, there[piece]) for piece, count in found.items()) / found.total()


precision_exercise.check(precision)


# %% tags=["hidden"]
def without_limit(output, reference, n):
    found, there = pieces(output, n), pieces(reference, n)
    return sum(count for piece, count in found.items() if piece in there) / found.total()


def recall(output, reference, n):
    found, there = pieces(output, n), pieces(reference, n)
    return (found & there).total() / there.total()


def with_sets(output, reference, n):
    found, there = set(pieces(output, n)), set(pieces(reference, n))
    return len(found & there) / len(found)


precision_exercise.expect(without_limit, "at most as often")
precision_exercise.expect(recall, "it is a recall")
precision_exercise.expect(with_sets, "sets forget that")
precision_exercise.expect(lambda a, b, n: reference_precision(a, b, 1), "Pieces have n words")

# %% [markdown]
# **chrF** does the same with pieces of characters, of 1 to 6, and counts recall too. So *sechzehn* for *sechzig* is
# not all wrong.
#
# Five translations of 268 724 with a mistake each. Before you look at the numbers: which is the worst mistake for
# somebody who has to pay the sum? Which for somebody who reads it aloud? And which will BLEU dislike most?


# %%
def bleu(output, reference):
    """BLEU of one text, from 0 to 100."""
    shares = [precision(output, reference, n) for n in (1, 2, 3, 4)]
    if min(shares) == 0:
        return 0.0
    short = min(1.0, np.exp(1 - len(reference) / len(output)))
    return 100 * short * float(np.exp(np.mean(np.log(shares))))


right = german(example)
attempts = {
    "a digit is wrong": german(269_724),
    "two digits are swapped": german(286_724),
    "the last word is missing": right[:-1],
    "it goes on and on": [*right, "und", "zwanzig", "und", "zwanzig"],
    "right words, other order": [*right[6:], *right[:6]],
}
library = {"WER": ErrorRate(), "BLEU": Bleu(smooth_method="none"), "chrF": Chrf(), "exact": ExactMatch()}
scores = {}
for name, words in attempts.items():
    scores[name] = measure([([" ".join(words)], [" ".join(right)])], library)
    by_hand = edits(words, right) / len(right), bleu(words, right)
    assert np.allclose(by_hand, [scores[name]["WER"], scores[name]["BLEU"]])
    print(f"{name:<26} {'  '.join(f'{measure} {value:6.2f}' for measure, value in scores[name].items())}")

figure, axes = plt.subplots(figsize=(8.5, 3.2))
for i, (kind, color) in enumerate({"1 - WER": BLUE, "BLEU": RED, "chrF": GREEN}.items()):
    values = [1 - one["WER"] if kind == "1 - WER" else one[kind] / 100 for one in scores.values()]
    axes.barh(np.arange(len(scores)) + 0.25 * (i - 1), values, height=0.25, color=color, label=kind)
axes.set_yticks(range(len(scores)), list(scores))
axes.invert_yaxis()
axes.set(xlim=(0, 1), xlabel="score (1 is perfect)")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
order = scores["right words, other order"]

# %% [markdown]
# By hand and by the library: the same numbers. What each overlooks:
#
# - A wrong digit and a missing last word cost the same by the error rate, one word of eleven. Only the first is a
#   mistake that nobody can notice. No measure knows what a word *means*.
# - Halves in the wrong order cost {{ 100 * order["WER"]:.0f | 73 ± 1 }} % by the error rate, for one of them is
#   taken out word by word and put in elsewhere. BLEU gives {{ order["BLEU"]:.0f | 81 ± 1 }}, and chrF
#   {{ order["chrF"]:.0f | 95 ± 1 }}, more than to any other attempt: nearly all pieces are still there.
# - An output that goes on and on costs chrF little, for nothing of the reference is missing.
# - BLEU of a single sentence jumps to 0 as soon as no four words in a row are right. It is made for a corpus.
#
# So name the measure, and how it was computed: sacrebleu prints a line for that, its *signature*. A BLEU without it
# cannot be compared with another (Post, 2018). And say what a copy of the source would score, or another baseline.

# %% [markdown]
# ## What goes wrong
#
# {{ found["right %"]:.0% }} right: are we done? The held-out numbers are of the same kind as the training numbers.
# Try others. What should it do with a number of seven digits? There is no word for a million among its targets.

# %%
for text in ("1234567", "7000000", "007", "1600", "12e3", "1" * 21):
    try:
        print(f"{text:>22}  {run.config.the_task.answer(run.config, model, processor, text)!r}")
    except MinitrainError as error:
        print(f"{text:>22}  {type(error).__name__}: {error}")

# %% [markdown]
# Two inputs are refused. An `e` is not among the symbols of the source, and 21 digits are more than
# `data.block_size`. These are the *good* cases: the error says what is wrong. The others get a fluent answer. Seven
# digits lose one on the way. `1600` is called sixteen hundred: nobody said so in the training data, but the
# speakers' habit goes on. You may call it a mistake or a good guess.
#
# How often does it happen, and does the model at least know that it does not know?

# %%
rng = np.random.default_rng(1)
shares, accuracy = {}, {}
for digits in range(1, 9):
    numbers = [int(n) for n in rng.integers(10 ** (digits - 1), 10**digits, 25)]
    written = [search(n, 1)[0] for n in numbers]
    shares[digits] = [share for _, share in written]
    fine = [digits < 7 and text in map(" ".join, versions(n)[0]) for n, (text, _) in zip(numbers, written, strict=True)]
    accuracy[digits] = np.mean(fine)

figure, (left, right_axes) = plt.subplots(1, 2, figsize=(10.5, 3.4))
left.bar(list(accuracy), list(accuracy.values()), color=[BLUE if digits < 7 else RED for digits in accuracy])
left.set(xlabel="digits of the number", ylabel="share that is right", ylim=(0, 1.05))
right_axes.boxplot(list(shares.values()), tick_labels=list(shares), medianprops={"color": RED})
right_axes.set(xlabel="digits of the number", ylabel="probability that it gives\nits own answer", ylim=(0, 1.05))
plt.show()
known, over = (float(np.median([shares[d] for d in some])) for some in ((5, 6), (7, 8)))

# %% [markdown]
# With seven and eight digits nothing can be right, and the model gives its answers a median probability of
# {{ over:.2f | ≥ 0.4 }}. For five and six, where nearly all are right, it was {{ known:.2f | ≥ 0.8 }}. So its own
# probability does not warn you. Six positions were trained, and the seventh never. That is a general weakness of
# these models: they do not go on to lengths that they have not seen (Koehn and Knowles, 2017).
#
# Data has the same trap. Pairs that are too long can be *cut*, left out or refused, and only one of these is loud:

# %%
for overlong in ("refuse", "skip", "truncate"):
    shorter = {"data": {**config.to_dict()["data"], "block_size": 8, "overlong": overlong}, "run_dir": overlong}
    try:
        prepared = config.the_task.prepare(RunConfig.from_dict({**config.to_dict(), **shorter}))
        pairs = prepared.data.train
        print(f"{overlong}: {len(pairs):,} pairs; the longest target has {pairs.lengths[:, 1].max()} words")
    except MinitrainError as error:
        print(f"{overlong}: {error}")

# %% [markdown]
# With `"truncate"`, a model learns from targets whose ends are missing, and then writes such targets. The loss looks
# fine, for the held-out targets are cut too. That is why `"refuse"` is what minitrain does unless you say otherwise.
#
# ## Questions
#
# 1. Change the digits of `example` one at a time and watch which words change. Compare with the cross-attention.
#    Where do they disagree?
# 2. Put the mean of the weights of all digits in place of one head's weights, with `patch` on
#    `decoder.1.cross.weights`. Which head can be spared? What does that say about pictures of single heads?
# 3. Train with `n_layer=1`. The decoder's only cross-attention now has to find each digit at once. Are the alignments
#    sharper?
# 4. Why does a beam search with a wide beam prefer short outputs, and what do people divide by to prevent it?
# 5. How would you make a training set from which the model can learn seven digits, without more than a few hundred
#    numbers of seven digits?
# 6. Positions are sinusoids here. Train with `"positions": "rotary"` in the settings of the model, which turns queries
#    and keys by their distance. Do the alignments change? Can it write a seventh digit now?
#
# ## Further reading
#
# - Bahdanau, Cho and Bengio, 2014, *Neural machine translation by jointly learning to align and translate*,
#   arXiv:1409.0473; Vaswani et al., 2017, *Attention is all you need*, arXiv:1706.03762.
# - Koehn and Knowles, 2017, *Six challenges for neural machine translation*, arXiv:1706.03872: lengths, alignments,
#   beams.
# - Jain and Wallace, 2019, *Attention is not explanation*, arXiv:1902.10186, and Wiegreffe and Pinter, 2019,
#   *Attention is not not explanation*, arXiv:1908.04626.
# - Stahlberg and Byrne, 2019, *On NMT search errors and model errors*, arXiv:1908.10090.
# - Post, 2018, *A call for clarity in reporting BLEU scores*, arXiv:1804.08771.
# - [Tasks](../tasks.md#sequence-to-sequence), [measures of texts](../evaluation.md#texts-that-a-model-wrote),
#   [beam search](../search.md).
# - The next notebook: [images and words](14_images_and_words.md).
