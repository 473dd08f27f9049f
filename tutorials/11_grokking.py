# %% [markdown]
# # 11. Grokking
#
# After this notebook you can
#
# - train a network that first learns by heart and understands much later, and tell the two apart;
# - say what weight decay has to do with it;
# - find an algorithm in weights, with sums of sines and cosines (a Fourier transform);
# - prove by ablation that the network uses it, and see it grow before the accuracy shows anything.
#
# You need notebooks 7 and 8, and sine and cosine. It takes about 50 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

from minitrain import GPT, AdamW, GPTConfig, pack
from minitrain.inside import AttentionView, capture, patch
from minitrain.training import train_step
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## The task
#
# Addition on a clock with $p = 31$ hours: $a + b = c \pmod p$. There are $31^2 = 961$ equations. The network sees half
# of them. The numbers are tokens, so it does not know that 3 comes after 2, or that they are numbers at all. An
# equation is three tokens, `a b =`, and the next one is the answer.

# %%
p = 31
a, b = np.divmod(np.arange(p * p), p)
equations = np.stack([a, b, np.full_like(a, p)], axis=1).astype(np.int32)  # (961, 3); token 31 is "="
answers = ((a + b) % p).astype(np.int32)

order = np.random.default_rng(0).permutation(p * p)
seen, unseen = order[: p * p // 2], order[p * p // 2 :]

table = np.full((p, p), np.nan)
table[a[seen], b[seen]] = answers[seen]
figure, axes = plt.subplots(figsize=(5.2, 4.4))
picture = axes.imshow(table, cmap="twilight", origin="lower")
axes.set(xlabel="b", ylabel="a", title="What the network is told (white: not told)")
figure.colorbar(picture, label="a + b mod 31")
plt.show()

# %% [markdown]
# You see stripes and fill the gaps at once. The network sees rows of a list in random order, with names for numbers. It
# could learn the list by heart: 480 entries are few for tens of thousands of weights, and nothing in the loss forbids
# it. What will it do with the equations that it has not seen?
#
# Be careful with that question. About half of the unseen equations $a + b$ have a mirror image $b + a$ that was seen.
# Whoever has noticed no more than $a + b = b + a$ gets these right. So we measure two kinds apart: *mirrored*
# equations, and *new* ones, of which neither form was seen.

# %%
mirror = np.isin(b * p + a, seen)  # of each equation: was its mirror image seen?
mirrored, new = unseen[mirror[unseen]], unseen[~mirror[unseen]]
kinds = {"seen": seen, "mirrored": mirrored, "new": new}
print({kind: len(rows) for kind, rows in kinds.items()})

# %% [markdown]
# The model is a GPT with one block. Only the last position has a target (-100 means: none). Every step sees the whole
# list. The learning rate falls to 0 in the last third, so that the result does not depend on where exactly we stop.
# The weight decay is large, 3: you will see why.


# %%
def train(weight_decay, steps):
    """A trained model, and what was measured on the way."""
    model = GPT(GPTConfig(vocab_size=p + 1, block_size=3, n_layer=1, n_head=4, n_embd=64, tie_weights=False), seed=0)
    pack(model)
    optimizer = AdamW(model, betas=(0.9, 0.95), eps=1e-5, weight_decay=weight_decay)
    targets = np.full((len(seen), 3), -100, np.int32)
    targets[:, -1] = answers[seen]
    log = {name: [] for name in ("step", "loss of seen", "loss of new", "length", "table", *kinds)}
    for step in range(steps + 1):
        if step % 20 == 0:
            logits, _ = model.forward(equations)
            scores = logits[:, -1].astype(np.float64)  # (961, 32)
            peak = scores.max(axis=-1)
            losses = peak + np.log(np.exp(scores - peak[:, None]).sum(axis=-1)) - scores[np.arange(p * p), answers]
            right = scores.argmax(axis=-1) == answers
            for kind, rows in kinds.items():
                log[kind].append(right[rows].mean())
            log["step"].append(step)
            log["loss of seen"].append(losses[seen].mean())
            log["loss of new"].append(losses[new].mean())
            matrices = [w.data.astype(np.float64) for w in model.parameters() if w.data.ndim == 2]
            log["length"].append(np.sqrt(sum((w**2).sum() for w in matrices)))
            log["table"].append(model.tok_emb.weight.data[:p].astype(np.float64))
        if step < steps:
            rate = 3e-3 * min(1, (step + 1) / 10, 3 * (1 - step / steps))
            train_step(model, optimizer, [(0, (equations[seen], targets))], lr=rate, max_grad_norm=1.0)
    return model, {name: np.array(values) for name, values in log.items()}


def first_step(log, kind, share):
    """The first step at which this share of a kind is right."""
    return log["step"][np.argmax(log[kind] >= share)]


STEPS = 1000
model, log = train(weight_decay=3.0, steps=STEPS)
by_heart, turned = first_step(log, "seen", 0.99), first_step(log, "mirrored", 0.95)
understood = first_step(log, "new", 0.95)
print(f"seen ones known: step {by_heart}; mirrored ones: step {turned}; new ones: step {understood}")

# %% tags=["hidden"]
assert log["seen"].max() == 1
assert log["mirrored"].max() > 0.95
assert log["new"][-1] > 0.95

# %%
COLORS = {"seen": BLUE, "mirrored": PURPLE, "new": RED}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
for kind, color in COLORS.items():
    left.plot(log["step"], log[kind], color=color, label=kind)
left.axhline(1 / p, color=GREY, linestyle="--", linewidth=1, label="guessing")
left.set(xlabel="step", ylabel="share that is right", title="Accuracy")
left.legend(loc="center right")
right.semilogy(log["step"], log["loss of seen"], color=BLUE, label="seen")
right.semilogy(log["step"], log["loss of new"], color=RED, label="new")
right.axhline(np.log(p), color=GREY, linestyle="--", linewidth=1, label="guessing")
right.set(xlabel="step", ylabel="loss (nats)", title="Loss")
right.legend(loc="lower left")
plt.show()
at_that_time = list(log["step"]).index(turned)

# %% [markdown]
# At step {{ by_heart }} the network knows the list. By step {{ turned }} it has noticed that $a + b = b + a$, for it
# gets the mirrored ones right. Of the new ones it knows {{ log["new"][at_that_time]:.0% | ≤ 0.25 }} then. Its loss on
# them is {{ log["loss of new"][at_that_time]:.1f | ≥ 3.5 }}, *above* that of guessing, {{ np.log(p):.1f }}: it is sure
# of wrong answers. Many would stop here and call it overfitting. Go on, and at step {{ understood }},
# {{ understood / by_heart:.0f | ≥ 3 }} times as late as the list, it knows nearly all. This is *grokking* (Power et
# al., 2022, arXiv:2201.02177). In all that time the training accuracy had nothing more to say. What has changed?
#
# (The spikes are the optimizer's. The gradient is tiny by then. Adam divides it by its own size, so that it keeps
# making steps of full length, and now and then one goes too far.)
#
# ## The same without weight decay
#
# Weight decay makes every matrix a little smaller in each step (notebook 8). A network that knows the list by heart
# must keep its weights large against that pull. Predict: what happens if nothing pulls?

# %%
_, free = train(weight_decay=0.0, steps=STEPS)

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
for axes, name, title in ((left, "new", "Accuracy on new equations"), (right, "length", "Length of all matrices")):
    axes.plot(log["step"], log[name], color=RED, label="weight decay 3")
    axes.plot(free["step"], free[name], color=GREY, label="no weight decay")
    axes.axvline(by_heart, color=BLUE, linestyle=":", label="the list is known")
    axes.set(xlabel="step", title=title)
left.set_ylabel("share that is right")
right.set(ylabel="root of the sum of squares", ylim=(0, None))
left.legend(loc="center right")
plt.show()
longest, shortest = log["length"][log["step"] <= understood].max(), log["length"][log["step"] > understood].min()

# %% [markdown]
# Without decay it ends at {{ free["new"][-1]:.0% | ≤ 0.4 }} of the new ones. It has solved its task, its gradient is
# nearly zero, and little moves it any more. With decay, the length of all matrices first grows to
# {{ longest:.1f | 8 ± 2 }} while it learns the list, and later falls to {{ shortest:.1f | ≤ 6 }}. It still knows the
# list, but with smaller and smaller weights. A rule needs smaller weights than 480 entries by heart, and weight decay
# favours whatever gives the same answers with smaller weights. That is the explanation of Liu et al.
# (arXiv:2210.01117) and Varma et al. (arXiv:2309.02390). It is not the whole truth: grokking has been seen without
# weight decay, too (Kumar et al., arXiv:2310.06110).
#
# ## Which rule?
#
# Look at what it has made of the numbers: 31 vectors of width 64, the token table. Plain numbers say little. But the
# task goes around a clock, so ask for what is periodic: how much does the table vary like a wave that goes $k$ times
# around while $a$ goes from 0 to 30?
#
# **Exercise 1.** For each frequency $k = 1, \dots, (p - 1) / 2$ compute the power
#
# $$P_k = \Big|\sum_a \cos\tfrac{2\pi k a}{p}\, E_a\Big|^2 + \Big|\sum_a \sin\tfrac{2\pi k a}{p}\, E_a\Big|^2$$
#
# where $E_a$ is row $a$ of the table (p, C), and $p$ is the number of its rows. The inner sums are vectors of width
# $C$, and together they are the *discrete Fourier transform* of the table. Return the *shares*: the powers divided by
# their sum, an array of $(p - 1) / 2$ numbers.


# %% tags=["folded"]
def reference_shares(table):
    power = (abs(np.fft.rfft(table, axis=0)) ** 2).sum(axis=1)[1:]
    return power / power.sum()


shares = Exercise(
    "frequency_shares",
    reference=reference_shares,
    inputs={"table": (11, 6)},
    hints=[
        "|v|² is the sum of the squares of a vector. In the function, p is len(table).",
        "np.cos(2 * np.pi * k * np.arange(p) / p) @ table is the first inner sum.",
        "Collect the powers in a list, make it an array, and divide by its sum.",
    ],
    advice={
        "are asked for": "Frequencies go from 1 to (p - 1) / 2, both included.",
        "the shape is": "One number for each k from 1 to (p - 1) / 2, both included.",
        "times that": "Shares sum to 1: divide by the sum of all powers.",
        "matmul": "p is the number of rows of this table, len(table), not the 31 of the task.",
        "element (2,) is 0.14": "Frequencies begin with 1. At 0 the wave is constant.",
        "Result 0": "Both waves count, cosine and sine, and the length of a vector is squared.",
    },
)


# %% tags=["exercise"]
def frequency_shares(table): ...  # your turn


shares.check(frequency_shares)


# %% tags=["solution"]
def frequency_shares(table):
    p = len(table)
    power = []
    for k in range(1, (p - 1) // 2 + 1):
        angle = 2 * np.pi * k * np.arange(p) / p
        power.append(((np.cos(angle) @ table) ** 2).sum() + ((np.sin(angle) @ table) ** 2).sum())
    return np.array(power) / sum(power)


shares.check(frequency_shares)


# %% tags=["hidden"]
def cosine_alone(table):
    power = np.array(
        [((np.cos(2 * np.pi * k * np.arange(len(table)) / len(table)) @ table) ** 2).sum() for k in range(1, 6)]
    )
    return power / power.sum()


def from_zero(table):
    power = (abs(np.fft.rfft(table, axis=0)) ** 2).sum(axis=1)[:-1]
    return power / power.sum()


shares.expect(from_zero, "begin with 1")
shares.expect(lambda table: np.ones(31) @ table, "not the 31 of the task")
shares.expect(cosine_alone, "Both waves count")
shares.expect(lambda table: reference_shares(table) * 100, "divide by the sum")
shares.expect(lambda table: reference_shares(table)[:-1], "both included")
shares.expect(lambda table: np.sqrt(reference_shares(table)), "Both waves count")

# %%
final_shares = frequency_shares(log["table"][-1])
ranking = final_shares.argsort()[::-1] + 1
key = np.sort(ranking[: 1 + np.searchsorted(final_shares[ranking - 1].cumsum(), 0.85)])
others = np.setdiff1d(np.arange(1, (p + 1) // 2), key)

figure, all_axes = plt.subplots(1, 3, figsize=(11, 3.3), sharey=True)
for axes, step in zip(all_axes, (0, by_heart, STEPS), strict=True):  # before, with the list known, at the end
    now = frequency_shares(log["table"][list(log["step"]).index(step)])
    axes.bar(np.arange(1, 16), now, color=[RED if k in key else GREY for k in range(1, 16)])
    axes.set(xlabel="frequency k", title=f"step {step}")
    axes.set_xticks(range(1, 16, 2))
all_axes[0].set_ylabel("share of the power")
plt.show()

# %% [markdown]
# At first the table is noise, and all frequencies have about 1/15. When the list is known, a few stand out a little. We
# call the strongest ones at the end, which together have 85 % of the power, the *key frequencies* (red). There are
# {{ len(key) | 5 ± 2 }} of 15: $k$ = {{ ", ".join(map(str, key)) }}. With another seed it would be others: nothing in
# the task prefers one. Nanda et al. (arXiv:2301.05217) found the same in a similar network with $p = 113$.
#
# What does a frequency look like? The two inner sums above are two directions in the space of 64 dimensions. Draw all
# numbers as these two directions see them.

# %%
E = log["table"][-1]
strongest = [k for k in ranking if k in key][:4]
figure, all_axes = plt.subplots(1, len(strongest), figsize=(3 * len(strongest), 3.2))
for axes, k in zip(np.atleast_1d(all_axes), strongest, strict=True):
    angle = 2 * np.pi * k * np.arange(p) / p
    directions = np.stack([np.cos(angle) @ E, np.sin(angle) @ E])  # (2, C)
    x, y = directions @ (E - E.mean(axis=0)).T / np.linalg.norm(directions, axis=1)[:, None]
    axes.scatter(x, y, c=np.arange(p), cmap="twilight", s=12)
    for number in range(p):
        axes.annotate(str(number), (x[number], y[number]), fontsize=7, ha="center", va="bottom")
    axes.set(title=f"k = {k}", xticks=[], yticks=[], aspect="equal")
    axes.margins(0.12)
plt.show()

# %% [markdown]
# A circle with 31 numbers on it: a clock face. With frequency $k$, the number $a$ stands near the angle $2\pi k a / p$.
# So the steps from one place to the next are not 1: with $k = 2$, the circle reads 0, 16, 1, 17, 2 and so on. The
# network was given names, and has arranged them as numbers modulo 31, {{ len(key) }} times.
#
# ## How to add with clocks
#
# To add two numbers on a clock, turn by the first angle and then by the second. In formulas, with $w = 2\pi k / p$:
#
# $$\cos(w(a + b)) = \cos(wa)\cos(wb) - \sin(wa)\sin(wb)$$
#
# and the same for the sine. So *products* of what the table holds give the angle of the sum, without knowing $a + b$.
# Products are what attention and the feed-forward layer can make. The answer $c$ is the one whose own angle fits:
#
# $$\mathrm{logit}_c = \sum_k \cos(w_k (a + b - c))$$
#
# It is largest, and all terms are 1, for $c = a + b \pmod p$.
#
# **Exercise 2.** Is one frequency enough? Write this sum for a list of frequencies. Return an array (p,) with the value
# for each $d = a + b - c$, from 0 to $p - 1$.

# %% tags=["folded"]
clock = Exercise(
    "clock",
    reference=lambda p, frequencies: sum(np.cos(2 * np.pi * k * np.arange(p) / p) for k in frequencies),
    inputs={"p": 13, "frequencies": [2, 3, 5]},
    hints=[
        "One wave over d = 0, 1, …, p - 1 for each frequency, and their sum.",
        "The angle is 2 * np.pi * k * d / p, in radians.",
        "sum(np.cos(2 * np.pi * k * np.arange(p) / p) for k in frequencies)",
    ],
    advice={
        "the shape is": "One value for each d: sum over the frequencies.",
        "times that": "A sum, not a mean: nothing divides by the number of frequencies.",
        "element (0,) is 0,": "At d = 0 all waves have their maximum. Which of sine and cosine does?",
        "Result 0": "One full turn is 2 * pi, and a wave with frequency k turns k times while d goes from 0 to p.",
    },
)


# %% tags=["exercise"]
def clock_logits(p, frequencies): ...  # your turn


clock.check(clock_logits)


# %% tags=["solution"]
def clock_logits(p, frequencies):
    d = np.arange(p)
    return sum(np.cos(2 * np.pi * k * d / p) for k in frequencies)


clock.check(clock_logits)

# %% tags=["hidden"]
clock.expect(lambda p, ks: np.mean([np.cos(2 * np.pi * k * np.arange(p) / p) for k in ks], axis=0), "not a mean")
clock.expect(lambda p, ks: sum(np.cos(np.pi * k * np.arange(p) / p) for k in ks), "One full turn")
clock.expect(lambda p, ks: np.array([np.cos(2 * np.pi * k * np.arange(p) / p) for k in ks]), "sum over the frequencies")

# %% [markdown]
# Now compare with the network. Its logits form a table (a, b, c). If it adds with clocks, they depend on $a + b - c$
# alone. So take the mean over all equations for each $d = a + b - c$, and see how much of the variance this explains.

# %%
logits = model.forward(equations)[0][:, -1, :p].astype(np.float64)  # (961, 31)
logits -= logits.mean(axis=1, keepdims=True)  # what all answers share does not matter
d = (a[:, None] + b[:, None] - np.arange(p)) % p  # (961, 31)
by_distance = np.array([logits[d == distance].mean() for distance in range(p)])
explained = 1 - ((logits - by_distance[d]) ** 2).sum() / (logits**2).sum()

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.6))
shown = (np.arange(p) + p // 2) % p - p // 2  # -15 … 15
turn = shown.argsort()
for frequencies, color in ((strongest[:1], GREY), (strongest[:2], YELLOW), (key, BLUE)):
    left.plot(
        shown[turn], clock_logits(p, frequencies)[turn], "o-", markersize=3, color=color, label=f"{len(frequencies)}"
    )
left.set(xlabel="d = a + b - c", ylabel="sum of cosines", title="Clocks on paper")
left.legend(title="frequencies")
right.plot(shown[turn], by_distance[turn], "o-", markersize=3, color=RED)
right.set(xlabel="d = a + b - c", ylabel="mean logit of the network", title="The network")
plt.show()

# %% [markdown]
# With one clock, the neighbours on the circle score nearly as high as the right answer. The *margin*, the distance from
# the highest score to the second, is
# {{ 1 - np.sort(clock_logits(p, strongest[:1]))[-2]:.2f | ≤ 0.05 }}, which a little noise destroys. Several clocks
# agree at $d = 0$ alone, and the margin grows. The network's curve has the same shape. A single function of $a + b - c$
# explains {{ explained:.0% | ≥ 0.8 }} of the variance of all {{ logits.size:, }} logits.
#
# ## Proof by ablation
#
# A pattern in the weights is not yet a mechanism. Take it away, and see what is left. The mean of the table stays, and
# of the waves only those that we choose.
#
# **Exercise 3.** Keep only some frequencies of a table (p, C). The part with frequency $k$ is
#
# $$\frac{2}{p}\Big(\cos\tfrac{2\pi k a}{p} \sum_{a'} \cos\tfrac{2\pi k a'}{p} E_{a'} + \sin\tfrac{2\pi k a}{p}
# \sum_{a'} \sin\tfrac{2\pi k a'}{p} E_{a'}\Big)$$
#
# Return the mean over all rows plus these parts.


# %% tags=["folded"]
def reference_keep(table, frequencies):
    waves = np.fft.rfft(table, axis=0)
    waves[[k for k in range(1, len(waves)) if k not in frequencies]] = 0
    return np.fft.irfft(waves, n=len(table), axis=0)


keep = Exercise(
    "keep_frequencies",
    reference=reference_keep,
    inputs={"table": (11, 4), "frequencies": [1, 4]},
    hints=[
        "Start with the mean over the rows, and add a part for each frequency.",
        "np.outer(np.cos(angle), np.cos(angle) @ table) is the first half of a part, without the factor.",
        "kept += 2 / p * (np.outer(cos, cos @ table) + np.outer(sin, sin @ table))",
    ],
    advice={
        "the shape is": "The result is a table again: one row for each number.",
        "Result 0": "Three things are easily lost: the mean of the rows, the sine, and the factor 2 / p.",
    },
)


# %% tags=["exercise"]
def keep_frequencies(table, frequencies): ...  # your turn


keep.check(keep_frequencies)


# %% tags=["solution"]
def keep_frequencies(table, frequencies):
    p = len(table)
    kept = np.tile(table.mean(axis=0), (p, 1))
    for k in frequencies:
        angle = 2 * np.pi * k * np.arange(p) / p
        cos, sin = np.cos(angle), np.sin(angle)
        kept += 2 / p * (np.outer(cos, cos @ table) + np.outer(sin, sin @ table))
    return kept


keep.check(keep_frequencies)

# %% tags=["hidden"]
keep.expect(lambda table, ks: reference_keep(table, ks) - table.mean(axis=0), "the mean of the rows")
keep.expect(lambda table, ks: 2 * reference_keep(table, ks) - table.mean(axis=0), "the factor 2 / p")
keep.expect(lambda table, ks: reference_keep(table, ks)[0], "one row for each number")
assert np.allclose(keep_frequencies(E, range(1, 16)), E)

# %% [markdown]
# `patch` puts the changed vectors in the place of the token table's output. Nothing else in the network changes.


# %%
def accuracy(frequencies):
    """Share of all 961 equations that are right with these frequencies of the table alone."""
    changed = np.concatenate([keep_frequencies(E, frequencies), model.tok_emb.weight.data[p:]])  # and "=" as it is
    with patch(model, {"tok_emb.out": changed[equations]}):
        logits, _ = model.forward(equations)
    return float((logits[:, -1].argmax(axis=-1) == answers).mean())


everything = np.arange(1, (p + 1) // 2)
trials = {"all 15": everything, f"only the {len(key)} key ones": key, f"without the {len(key)} key ones": others}
trials |= {f"without k = {k}": np.setdiff1d(everything, [k]) for k in key}
results = {name: accuracy(frequencies) for name, frequencies in trials.items()}

figure, axes = plt.subplots(figsize=(8, 0.5 * len(results) + 1))
colors = [GREEN, GREEN, RED] + [YELLOW] * len(key)
bars = axes.barh(list(results), list(results.values()), color=colors)
axes.bar_label(bars, [f"{value:.0%}" for value in results.values()], padding=3)
axes.axvline(1 / p, color=GREY, linestyle="--", linewidth=1)
axes.text(1 / p + 0.01, len(results) - 0.6, "guessing", color=GREY, fontsize=8, va="top")
axes.invert_yaxis()
axes.set(xlabel="share of all equations that is right", xlim=(0, 1.1))
plt.show()
with_key, without_key = results[f"only the {len(key)} key ones"], results[f"without the {len(key)} key ones"]

# %% [markdown]
# With the key frequencies alone the network is right in {{ with_key:.0% }} of all cases: the other {{ len(others) }}
# frequencies do nothing for it. Without the key ones, it is right in {{ without_key:.0% }}. That includes the equations
# that it once knew by heart. They are gone: next to nothing of the list has been kept beside the rule. If one key
# frequency is missing, the others still find most answers, with a smaller margin.

# %% tags=["hidden"]
assert with_key > 0.9
assert without_key < 0.25

# %% [markdown]
# ## Was it sudden?
#
# The accuracy jumps. Does the rule come as suddenly? We kept the table at every 20th step. So look at the share of the
# frequencies that are the key ones at the end, and at the loss on new equations.

# %%
growth = np.array([frequency_shares(table)[key - 1].sum() for table in log["table"]])
worst, jump = log["step"][log["loss of new"].argmax()], first_step(log, "new", 0.5)

figure, axes = plt.subplots(figsize=(8, 3.8))
axes.plot(log["step"], log["seen"], color=BLUE, label="seen equations right")
axes.plot(log["step"], log["new"], color=RED, label="new equations right")
axes.plot(log["step"], growth, color=GREEN, label="power in the key frequencies")
axes.plot(log["step"], log["loss of new"] / log["loss of new"].max(), color=YELLOW, label="loss of new ones, scaled")
axes.set(xlabel="step", ylabel="share", ylim=(0, 1.05))
axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=2)
plt.show()

# %% [markdown]
# The loss on new equations is largest at step {{ worst }}. From there on it falls, while the accuracy shows nothing.
# The accuracy passes one half at step {{ jump }}. The answer must become the *highest* of 32 before it counts as right,
# so the accuracy is the last to tell. The key frequencies have {{ growth[0]:.0% }} of the power at the beginning, by
# chance, {{ growth[list(log["step"]).index(worst)]:.0% }} at step {{ worst }},
# {{ growth[list(log["step"]).index(jump)]:.0% }} at step {{ jump }} and {{ growth[-1]:.0% }} at the end. Part of the
# growth comes *after* the jump: the rule is there, and decay clears away what is left of the list. Nanda et al. call
# such quantities *progress measures*. If you know what to measure, the change is less sudden.
#
# The answer is formed at the last position, which needs both numbers. How does attention bring them there?

# %%
with capture(model, "blocks.0.attention.weights") as inside:
    model.forward(equations)
pattern = inside["blocks.0.attention.weights"].mean(axis=0)  # (H, 3, 3), of all equations
gap = abs(pattern[:, -1, 0] - pattern[:, -1, 1]).max()
AttentionView(pattern, ["a", "b", "="])

# %% [markdown]
# The numbers are percentages, and the last row is that of `=`, where the answer is formed. On average every head takes
# equally much from $a$ and from $b$ (the largest difference is {{ gap:.0% | ≤ 0.1 }}). That suits a rule in which
# $a + b = b + a$.
#
# ## Questions
#
# 1. Why does the network not use all 15 frequencies, which would give the largest margin? Think of what each costs in
#    weight decay.
# 2. What would you expect for $a - b$, or for $a \cdot b$ modulo 31? (The numbers from 1 to 30 are powers of 3 modulo
#    31. What becomes of a product, if you look at the exponents?)
# 3. Show the network 30 % or 70 % of the equations. When does it understand? Is there a share from which on both curves
#    rise together?
# 4. Someone stops at step {{ by_heart }} and reports that a transformer cannot add. What would you have to know to
#    decide whether to train on?
# 5. We looked at the token table alone. How would you check that the head, which turns the last vector into logits,
#    uses the same frequencies? (`model.head.weight.data` is (32, 64).)
#
# ## Further reading
#
# - Power et al., 2022, *Grokking: generalization beyond overfitting on small algorithmic datasets*, arXiv:2201.02177.
# - Nanda et al., 2023, *Progress measures for grokking via mechanistic interpretability*, arXiv:2301.05217.
# - Zhong et al., 2023, *The clock and the pizza*, arXiv:2306.17844: another way to add with circles.
# - Liu et al., 2022, *Omnigrok: grokking beyond algorithmic data*, arXiv:2210.01117, and Varma et al., 2023,
#   *Explaining grokking through circuit efficiency*, arXiv:2309.02390.
# - [Look inside a model](../howto/looking_inside.md), [weight decay and optimizers](../api/optim.md).
# - The next notebook: [how fast code is made](12_how_fast_code_is_made.md).
