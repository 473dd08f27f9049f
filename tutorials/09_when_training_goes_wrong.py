# %% [markdown]
# # 9. When training goes wrong
#
# After this notebook you can
#
# - read a loss curve: where it must begin, where it may stand still, and where it cannot go;
# - recognise twelve mistakes by their curves, and say what to try for each;
# - write small detectors for them;
# - say what an automatic diagnosis sees, and what it cannot see.
#
# You need a GPT ([notebook 7](07_a_gpt_from_its_parts.md)) and optimizers ([notebook 8](08_optimizers_drawn.md)). It
# takes about 60 minutes. Most of that is guessing. Do guess: it is the exercise.

# %%
import math
import re

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import minitrain as mt
from minitrain.data import Batch, read_corpus, unigram_nats
from minitrain.errors import NonFiniteError
from minitrain.nn import ParamGroup, assign_groups
from minitrain.optim import compute_grad_norm
from minitrain.probes import future_leak, shared_samples
from minitrain.records import LossLevels, blind_spots, diagnose
from minitrain.training import ActivationStatistics, NaNGuard
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## Three tasks
#
# All runs are tiny, so that you can repeat each in a second.
#
# - **text**: a GPT of one block predicts the next of 27 letters in Python's manual.
# - **digits**: an MLP with ReLUs sorts scikit-learn's pictures of digits, 8 by 8 pixels, into ten classes.
# - **XOR**: an MLP with three hidden units learns four points. The class is 1 if exactly one of two inputs is 1.

# %%
text = re.sub("[^a-z]+", " ", read_corpus(None).lower())[:200_000]
letters = sorted(set(text))
tokens = np.array([letters.index(letter) for letter in text], np.int32)
V, T = len(letters), 16
text_loader = mt.TokenLoader(tokens[:180_000], block_size=T, batch_size=16, seed=0)
held_out = tokens[180_000 : 180_000 + 64 * T + 1]
text_validation = Batch(held_out[:-1].reshape(64, T), held_out[1:].reshape(64, T))

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
pixels = (digits.data[order] / 16).astype(np.float32)  # 0 to 1
classes = digits.target[order].astype(np.int32)
digits_validation = (pixels[1400:], classes[1400:])

xor = (np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0], np.int32))


def gpt():
    config = mt.GPTConfig(V, block_size=T, n_layer=1, n_head=2, n_embd=32, positions="rotary", tie_weights=False)
    return mt.GPT(config, seed=0)


def mlp(*widths, seed=0):
    return mt.MLP(mt.MLPConfig(widths=widths), seed=seed)


def adamw(model):
    return mt.AdamW(model, betas=(0.9, 0.95))


def digit_batches(size, x=pixels, y=classes, among=1400):
    """Batch number ``step`` of ``size`` random pictures."""

    def batch(step):
        chosen = np.random.default_rng(step).choice(among, size, replace=False)
        return x[chosen], y[chosen]

    return batch


# %% [markdown]
# One loop for all. It records what you would look at in a real run: the training loss and the norm of the gradient
# in each step, and the validation loss in every tenth. It does not clip, and it stops when a number is no longer
# finite.


# %%
def train(model, optimizer, batches, validation, *, steps=150, schedule=None):
    history = {"train_loss": [], "val_loss": [], "grad_norm": []}
    with np.errstate(all="ignore"):  # some runs will overflow
        for step in range(steps):
            if schedule:
                optimizer.set_lr(schedule(step))
            optimizer.zero_grad()
            loss, cache = model.loss(batches(step))
            model.loss_backward(cache)
            norm = compute_grad_norm(model) / loss.count  # of the mean gradient
            history["train_loss"].append(loss.mean)
            history["grad_norm"].append(norm)
            if not math.isfinite(loss.mean + norm):
                break
            optimizer.step(1 / loss.count)
            if step % 10 == 9:
                history["val_loss"].append(model.loss(validation)[0].mean)
    return history


# %% [markdown]
# ## A healthy run, and the numbers to know before it starts
#
# You can know three numbers before you train:
#
# - A model that knows nothing guesses evenly. Its loss is $\ln V$: {{ np.log(V):.2f | 3.3 ± 0.01 }} for 27 letters.
#   A fresh model should *begin* there.
# - A model that looks at nothing, but knows how frequent each letter is, has the entropy of these frequencies,
#   $-\sum_i p_i \ln p_i$. A model that *stands still* there has not learned to use its input.
# - A model that knows only the letter before has the entropy of pairs, given the first letter. A GPT should come
#   *below* it sooner or later. But the next letter of English text is not certain. So no honest model that sees
#   16 letters comes near 0.

# %%
frequent = unigram_nats(tokens[:180_000], held_out, V)
pairs = np.zeros((V, V))
np.add.at(pairs, (tokens[:-1], tokens[1:]), 1)
chances = pairs / pairs.sum(axis=1, keepdims=True)
one_letter = -(pairs * np.log(np.maximum(chances, 1e-12))).sum() / pairs.sum()

warm_cosine = mt.WarmupCosine(0.02, warmup_steps=10, total_steps=150)
model = gpt()
healthy = train(model, adamw(model), text_loader.batch, text_validation, schedule=warm_cosine)


def draw_loss(axes, history, task, limit=None):
    losses = np.array(history["train_loss"])
    axes.plot(losses, color=BLUE, linewidth=1, label="training")
    every = 10 * np.arange(1, len(history["val_loss"]) + 1) - 1
    axes.plot(every, history["val_loss"], ".-", color=RED, label="validation")
    guess = {"text": V, "digits": 10, "XOR": 2}[task]
    axes.axhline(np.log(guess), color=GREY, linestyle=":", label=f"guessing, ln {guess}")
    if task == "text":
        axes.axhline(frequent, color=GREY, linestyle="--", linewidth=0.8, label="letter frequencies")
    top = limit or max(1.15 * np.log(guess), 1.05 * losses[np.isfinite(losses)].max())
    axes.set_ylim(0 if task != "text" or losses.min() < 1.5 else 2, min(top, 2 * np.log(guess)))
    axes.set_xlim(-3, 153)


figure, axes = plt.subplots(figsize=(7.5, 4))
draw_loss(axes, healthy, "text")
axes.axhline(one_letter, color=GREEN, linestyle="-.", linewidth=0.8, label="knowing one letter")
axes.set(xlabel="step", ylabel="loss (nats per letter)")
axes.legend()
plt.show()

# %% [markdown]
# The run begins at {{ healthy["train_loss"][0]:.2f | 3.3 ± 0.05 }}. It crosses the letter frequencies
# ({{ frequent:.2f | 2.86 ± 0.05 }}) within ten or twenty steps, and ends at
# {{ healthy["val_loss"][-1]:.2f | 2.25 ± 0.12 }}, a little below what one letter tells
# ({{ one_letter:.2f | 2.3 ± 0.05 }}). Training and validation lie on each other: in 150 steps no letter is seen
# twice.
#
# **Exercise 1.** Write the entropy, in nats, of an array of counts. It is the second number, and you will want it for
# every classifier: the loss of a model that has learned nothing but the frequencies of the classes. A count may be 0.


# %% tags=["folded"]
def reference_entropy(counts):
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


entropy_exercise = Exercise(
    "entropy",
    reference=reference_entropy,
    inputs={"counts": np.array([60.0, 25.0, 10.0, 5.0, 0.0])},
    hints=[
        "Make probabilities of the counts first.",
        "A count of 0 contributes 0: p ln p goes to 0 with p. But the computer has no log(0).",
        "p = counts[counts > 0] / counts.sum(); return -(p * np.log(p)).sum()",
    ],
    advice={
        "not finite": "Leave out the counts of 0 before the logarithm: their share is 0.",
        "1.4427 times": "Those are bits. Nats use the natural logarithm.",
        "wrong sign": "Logarithms of probabilities are negative. An entropy is not.",
        "100 times": "Use probabilities, not counts, in front of the logarithm too.",
    },
)


# %% tags=["exercise"]
def entropy(counts): ...  # your turn


entropy_exercise.check(entropy)


# %% tags=["solution"]
def entropy(counts):
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


entropy_exercise.check(entropy)


# %% tags=["hidden"]
def quiet_nan(counts):
    with np.errstate(all="ignore"):
        p = counts / counts.sum()
        return -(p * np.log(p)).sum()


entropy_exercise.expect(quiet_nan, "Leave out")
entropy_exercise.expect(lambda counts: entropy(counts) / np.log(2), "Those are bits")
entropy_exercise.expect(lambda counts: -entropy(counts), "are negative")
entropy_exercise.expect(lambda counts: entropy(counts) * counts.sum(), "Use probabilities")
entropy_exercise.expect(lambda counts: None, "not written yet")

# %% [markdown]
# ## Twelve broken runs
#
# Each of the next twelve runs has **one** mistake. These are the causes, in alphabetical order:
#
# - a broken sample in the data
# - a rate that is too high
# - a rate that is too low
# - an unlucky seed
# - batches that are too small
# - dead ReLUs (they put out 0 for every input)
# - forgotten `zero_grad`
# - no warm-up
# - targets that were shuffled
# - the future is visible (no causal mask)
# - validation data is part of the training data
# - weight decay on everything, and too much of it
#
# The code of the runs is in the next cell, folded. **Run it, but do not open it yet.** Every run also has a
# *repaired* twin, for later.


# %% tags=["folded"]
def shuffled_targets(step):
    batch = text_loader.batch(step)
    return batch._replace(targets=batch.targets[np.random.default_rng(step).permutation(16)])


def text_run(make_optimizer=adamw, schedule=warm_cosine, batches=text_loader.batch, prepare=None):
    model = gpt()
    if prepare:
        prepare(model)
    return train(model, make_optimizer(model), batches, text_validation, schedule=schedule)


def see_the_future(model):
    for block in model.blocks:
        block.attention.causal = False


def decay_everything(model):
    assign_groups(model, ParamGroup("*", weight_decay=10.0))


class NeverZeroed(mt.AdamW):
    def zero_grad(self):
        if self.steps == 0:
            super().zero_grad()


noise = np.random.default_rng(1)
noisy = classes.copy()  # 20 of the first 100 labels are random
noisy[noise.choice(100, 20, replace=False)] = noise.integers(0, 10, 20)


def memorise(validation):
    model = mlp(64, 64, 10)
    return train(model, mt.Adam(model, 0.01), digit_batches(32, y=noisy, among=100), validation)


first_seen = {}
for step in range(150):
    for sample in digit_batches(64, y=np.arange(len(classes)))(step)[1]:
        first_seen.setdefault(int(sample), step)
culprit = next(sample for sample, step in first_seen.items() if step == 40)
damaged = pixels.copy()
damaged[culprit, 20] = np.nan


def digits_run(batches):
    model = mlp(64, 32, 32, 10)
    return train(model, mt.SGD(model, 0.2), batches, digits_validation)


def xor_run(seed, hidden=3):
    model = mlp(2, hidden, 2, seed=seed)
    return train(model, mt.Adam(model, 0.03), lambda step: xor, xor)


no_warmup = mt.WarmupCosine(0.1, total_steps=150)
long_warmup = mt.WarmupCosine(0.1, warmup_steps=50, total_steps=150)
healthy_digits = digits_run(digit_batches(64))
broken = {
    "A": text_run(batches=shuffled_targets),
    "B": text_run(mt.SGD, mt.Constant(3.0)),
    "C": memorise((pixels[:50], noisy[:50])),
    "D": digits_run(digit_batches(64, x=damaged)),
    "E": text_run(lambda model: NeverZeroed(model, betas=(0.9, 0.95))),
    "F": text_run(schedule=mt.Constant(1e-4)),
    "G": digits_run(digit_batches(64, x=16 * pixels)),
    "H": text_run(prepare=see_the_future),
    "I": digits_run(digit_batches(1)),
    "J": text_run(prepare=decay_everything),
    "K": xor_run(seed=2),
    "L": text_run(schedule=no_warmup),
}
repaired = dict.fromkeys("ABEFHJ", healthy) | dict.fromkeys("DGI", healthy_digits)
repaired["C"] = memorise(digits_validation)
repaired["K"] = xor_run(seed=0)
repaired["L"] = text_run(schedule=long_warmup)
task = dict.fromkeys("ABEFHJL", "text") | dict.fromkeys("CDGI", "digits") | {"K": "XOR"}

# %%
from matplotlib.ticker import NullFormatter

figure = plt.figure(figsize=(14, 13))
grid = figure.add_gridspec(6, 4, height_ratios=[2, 1] * 3)
for number, (letter, history) in enumerate(broken.items()):
    row, column = divmod(number, 4)
    axes = figure.add_subplot(grid[2 * row, column])
    draw_loss(axes, history, task[letter])
    axes.set_title(f"{letter} ({task[letter]})", loc="left", fontweight="bold")
    axes.tick_params(labelbottom=False)
    below = figure.add_subplot(grid[2 * row + 1, column], sharex=axes)
    below.semilogy(history["grad_norm"], color=GREEN, linewidth=1)
    below.set_ylim(0.03 if task[letter] != "XOR" else 0.003, 300)
    below.yaxis.set_minor_formatter(NullFormatter())
    if not np.isfinite(history["train_loss"][-1] + history["grad_norm"][-1]):
        axes.axvline(len(history["train_loss"]) - 1, color="black", linewidth=1)
        axes.annotate(" not finite", (len(history["train_loss"]), 0.5), xycoords=("data", "axes fraction"), fontsize=9)
    if column == 0:
        axes.set_ylabel("loss")
        below.set_ylabel("gradient norm")
    if row == 2:
        below.set_xlabel("step")
plt.show()

# %% [markdown]
# Blue is the training loss, red the validation loss. The dotted line is guessing, the dashed line the letter
# frequencies. Green is the norm of the gradient, on a logarithmic axis. The loss axis is cut off at twice the guess.
#
# Take a pencil and fill in the table. Do not hurry. Ask each time: does it begin where it should? Where does it
# stand still? How do the two losses relate? What does the gradient do, and *which curve moves first*?
#
# | run | my guess | what I saw |
# |---|---|---|
# | A (text) | | |
# | B (text) | | |
# | C (digits) | | |
# | D (digits) | | |
# | E (text) | | |
# | F (text) | | |
# | G (digits) | | |
# | H (text) | | |
# | I (digits) | | |
# | J (text) | | |
# | K (XOR) | | |
# | L (text) | | |
#
# Have you guessed? The answers follow. Beside each broken run stands the repaired one, and below it what minitrain's
# own diagnosis says about both. `diagnose(history)` is a list of rules over the recorded curves. It knows neither the
# data nor the code. What you know before a run, you can tell it: the loss of guessing, the loss of the frequencies,
# and, if you know one, a floor that no honest model gets below. For letters, that is the 0.7 of people (Shannon, 1951).
# For the 100 pictures of C, of whose labels a fifth are random, it is the entropy of such labels: 82 % right, and 2 %
# for each other class.

# %%
import textwrap

noise_floor = reference_entropy(np.array([82.0] + 9 * [2.0]))
levels = dict.fromkeys("ABEFHJL", LossLevels.of(tokens[:180_000], V, floor=0.7))
levels |= dict.fromkeys("DGI", LossLevels.of(classes[:1400], 10))
levels |= {"C": LossLevels.of(noisy[:100], 10, floor=noise_floor), "K": LossLevels.of(xor[1], 2)}


def show(letter):
    _, panels = plt.subplots(2, 2, figsize=(11, 4.4), sharex=True, sharey="row", height_ratios=[2, 1])
    for column, name, history in [(1, "repaired", repaired[letter]), (0, "broken", broken[letter])]:
        draw_loss(panels[0, column], history, task[letter])
        panels[0, column].set_title(f"{letter}, {name}")
        panels[1, column].semilogy(history["grad_norm"], color=GREEN, linewidth=1)
        panels[1, column].yaxis.set_minor_formatter(NullFormatter())
        panels[1, column].set_xlabel("step")
    low, high = panels[1, 0].get_ylim()
    if high < 100 * low:
        panels[1, 0].set_ylim(low / 4, high * 4)
    panels[0, 0].set_ylabel("loss")
    panels[1, 0].set_ylabel("gradient norm")
    panels[0, 1].legend(fontsize=8)
    plt.show()
    for name, history in [("broken", broken[letter]), ("repaired", repaired[letter])]:
        alone = [one.kind for one in diagnose(history)]
        found = diagnose(history, levels[letter])
        print(f"minitrain on the {name} run:{'' if found else ' nothing'}")
        for one in found:
            needed = "" if one.kind in alone else " (seen with the levels)"
            text = f"{one.kind}{needed}: {one.message}"
            print(textwrap.fill(text, 110, initial_indent="  - ", subsequent_indent="    "))


# %% [markdown]
# ### Run A

# %%
show("A")

# %% [markdown]
# **Signature.** It begins right, falls fast, and then stands *at the letter frequencies*,
# {{ np.mean(broken["A"]["train_loss"][-50:]):.2f | 2.86 ± 0.06 }}. Training and validation agree.
#
# **Cause.** The targets of a batch were put in another order than its inputs: a sort, or a join by the wrong column.
# Input and target have nothing to do with each other. All that is left to learn is how frequent each letter is. A
# model that does not get its input at all looks the same.
#
# **Cure.** Print three inputs with their targets, decoded, and read them. Always, before the first long run.
#
# **The library** names it, once it knows that 2.86 has a meaning. From the curve alone it sees a plateau at most. You
# computed the number beforehand; give it away.
#
# ### Run B

# %%
show("B")

# %% [markdown]
# **Signature.** The loss jumps up within a few steps and the gradient with it, each time higher, until numbers
# overflow: after {{ len(broken["B"]["train_loss"]) | 15 ± 12 }} steps.
#
# **Cause.** SGD with a rate of 3. In the steepest direction each step overshoots by more than the last one, as on
# the bowl in [notebook 8](08_optimizers_drawn.md).
#
# **Cure.** A lower rate: divide by 3 until it holds. Clipping hides the symptom, but a rate that only survives by
# clipping in every step is no good rate.
#
# **The library** is right: NaN *after a climb*, so it is the rate.
#
# ### Run C

# %%
show("C")
shared = shared_samples(pixels[:100], pixels[:50])

# %% [markdown]
# **Signature.** The *good-looking* run is the broken one. The validation loss follows the training loss down to
# {{ broken["C"]["val_loss"][-1]:.2f | 0.1 ± 0.1 }}, without any gap, on 100 pictures that each come 48 times.
#
# **Cause.** The validation pictures are among the 100 that the model trains on. It knows them by heart. Here is the
# proof: 20 of the 100 labels are random. Nobody can predict those. On such labels even a perfect model has a loss of
# at least the entropy of 82 % right and 2 % for each other class, {{ noise_floor:.2f | 0.87 ± 0.01 }}. Less than
# that is not skill. It is memory.
#
# **Cure.** Split first, then do everything else. Look for duplicates across the split, also near ones: the same
# patient, the same book, the same minute of a film. The repaired run shows what is really going on: overfitting,
# from step {{ 10 * int(np.argmin(repaired["C"]["val_loss"])) + 10 | 45 ± 30 }} on.
#
# **The library** sees it with the floor, and with it alone. No rule over curves can see a leak that makes both curves
# good. What can see it is a look at the data: `shared_samples(train, held_out)` finds {{ len(shared) | 50 ± 0 }} of the
# 50 validation pictures among the 100. In the repaired run the library sees the overfitting.
#
# ### Run D

# %%
show("D")

# %% [markdown]
# **Signature.** All is well, and then NaN, *without a climb before it*. That is the difference from B: there the
# loss rose for several steps first.
#
# **Cause.** One pixel of one picture is NaN. The run met it in step {{ len(broken["D"]["train_loss"]) - 1 | 40 ± 0
# }}. Had the update been done, all weights would be NaN, and no batch would help any more.
#
# **Cure.** Check the data: `np.isfinite(x).all()`. minitrain's `Trainer` refuses such an update and names the first
# array that is not finite. With the callback `NaNGuard` it skips the batch and goes on:

# %%
batches = [digit_batches(64, x=damaged)(step) for step in range(60)]


def trained(callbacks):
    model = mlp(64, 32, 32, 10)
    settings = mt.TrainingConfig(max_steps=60, max_grad_norm=None)
    return mt.Trainer(
        model=model,
        optimizer=mt.SGD(model, 0.2),
        train_data=batches,
        config=settings,
        callbacks=callbacks,
        progress=False,
        warn=print,
    ).train()


try:
    trained([])
except NonFiniteError as error:
    print(textwrap.fill(f"without a guard: {error}", 110), end="\n\n")
print("with NaNGuard, ", end="")
result = trained([NaNGuard("skip")])
print("the last loss:", round(result.history.get_latest("train_loss"), 2))
print("pictures that are not finite:", np.flatnonzero(~np.isfinite(damaged).all(axis=1)))

# %% [markdown]
# **The library** makes the same difference as you: no climb, so it is a sample and not the rate. The trainer, which has
# the batch at hand, names the sample.
#
# ### Run E

# %%
show("E")

# %% [markdown]
# **Signature.** The first ten steps look fine. Then the loss turns, climbs *above guessing*, and swings. The norm of
# the gradient grows steadily, to {{ broken["E"]["grad_norm"][-1]:.0f | ≥ 20 }}: it only knows one direction.
#
# **Cause.** Gradients add up until they are cleared. Without `optimizer.zero_grad()`, each step follows the sum of
# *all* gradients since the beginning. That is a momentum of 1, a ball without friction: it rolls through the valley
# and up the other side.
#
# **Cure.** `zero_grad` before each backward. Look at the norm: it should be the same for the same batch and weights,
# however often you ask.
#
# **The library** finds it by a detail that is easy to miss: the norm of one batch's gradient jumps from step to step,
# since batches differ. This norm does not jump. It is a sum.
#
# ### Run F

# %%
show("F")

# %% [markdown]
# **Signature.** A smooth, nearly straight line. The gradient stays as large as it was: there is still everything to
# gain. After 150 steps the loss is {{ broken["F"]["val_loss"][-1]:.2f | 2.97 ± 0.1 }}.
#
# **Cause.** AdamW with a rate of 0.0001, where 0.02 is good. Each step moves a weight by about 0.0001, so 150 steps
# can move it by 0.015 at most.
#
# **Cure.** Triple the rate until the start gets unruly, then go back a step. [minitrain's probes](../api/probes.md)
# do such a sweep in one run.
#
# **The library** says "slow", by the straight line and the gradient that does not get smaller. It cannot know whether
# the rate is too low or the run too short, and says so. A rate that is only somewhat too low looks like any healthy
# run: slow is visible next to fast.
#
# ### Run G

# %%
show("G")

# %% [markdown]
# **Signature.** A wild start, far above guessing, and then *exactly* $\ln 10 = 2.30$, flat, with a small gradient
# that does not change any more.
#
# **Cause.** The pixels came as 0 to 16 instead of 0 to 1. The first gradients were huge (look at the norm), and the
# first steps threw the biases and weights so far that no input makes any ReLU positive. Then all ReLUs put out 0,
# and their slope is 0 too. No gradient passes, and nothing can revive them. Only the last layer's biases still
# learn: the frequencies of the classes.
#
# **Cure.** Scale the inputs. Or a lower rate, or a warm-up, or an activation with a slope on both sides (GELU,
# SiLU). The norm of the gradients alone cannot tell a dead network from a finished one. Count the dead units:

# %%
model = mlp(64, 32, 32, 10)
result = mt.Trainer(
    model=model,
    optimizer=mt.SGD(model, 0.2),
    train_data=[digit_batches(64, x=16 * pixels)(step) for step in range(100)],
    config=mt.TrainingConfig(max_steps=100, max_grad_norm=None),
    callbacks=[ActivationStatistics(batch=(16 * pixels[1400:], classes[1400:]))],
    progress=False,
).train()
dead = {name: result.history.get_latest(name) for name in result.history.names() if name.startswith("dead.")}
for name, share in dead.items():
    print(f"{name}: {share:.0%}")
for one in result.history.diagnose_training_issues():
    print(textwrap.fill(f"{one.kind}: {one.message}", 110))

# %% [markdown]
# **The library**, with the curves of our loop alone, concludes it from three things: the loss shot up, has stood still
# near its beginning since then, and the gradient all but vanished. With `ActivationStatistics` in the trainer it need
# not conclude. It counts.
#
# ### Run H

# %%
show("H")

# %% [markdown]
# **Signature.** Too good to be true: {{ broken["H"]["val_loss"][-1]:.2f | ≤ 0.9 }} nats per letter, where a healthy
# model of this size has {{ healthy["val_loss"][-1]:.2f }}, and where people need about 0.7 (one bit), with far
# more text before their eyes (Shannon, 1951). The validation loss is as good. It has the same mistake.
#
# **Cause.** Attention without the causal mask. At each position the answer stands one place to the right, and the
# model learned to copy it. It cannot write a word: when it generates, there is no future to look at.
#
# **Cure.** A test, not a look at curves. Change the *last* letter: no earlier output may change.


# %%
def leak(model):
    """The largest change of earlier outputs when the last letter changes."""
    inputs = text_validation.inputs[:4]
    changed = inputs.copy()
    changed[:, -1] = (changed[:, -1] + 1) % V
    before, after = model.forward(inputs)[0], model.forward(changed)[0]
    return float(np.abs(before - after)[:, :-1].max())


masked, unmasked = gpt(), gpt()
see_the_future(unmasked)
print(f"with the mask {leak(masked):.1e}, without {leak(unmasked):.1e}")
found = [future_leak(model, text_validation.inputs[:4]) for model in (masked, unmasked)]
print(f"minitrain's future_leak: with the mask {found[0]:.1e}, without {found[1]:.1e}")

# %% tags=["hidden"]
assert leak(masked) == 0
assert leak(unmasked) > 1e-6
assert found[0] == 0 and found[1] > 1e-6

# %% [markdown]
# **The library** has this test too, as `future_leak(model, tokens)`. Its diagnosis needs the floor. Without that it
# sees a beautiful run.
#
# ### Run I

# %%
show("I")

# %% [markdown]
# **Signature.** The training loss jumps by its own size from step to step. The validation loss wanders and gets
# nowhere: {{ broken["I"]["val_loss"][-1]:.2f | 2.1 ± 0.5 }} after 150 steps.
#
# **Cause.** One picture per batch, with the rate for 64. The gradient of one picture is mostly about that picture.
# Its noise is $\sqrt{64} = 8$ times as large as that of a batch of 64, and a rate of 0.2 follows all of it.
#
# **Cure.** Larger batches, or the same by accumulating gradients over several small ones. Or a lower rate: small
# batches are not wrong in themselves.
#
# **The library** says "unstable" and suggests just that.
#
# ### Run J

# %%
show("J")

# %% [markdown]
# **Signature.** The loss falls for ten steps. Then both losses *turn back up together*, and settle between guessing
# and the letter frequencies. The gradient does not vanish: it pulls, and something pulls against it.
#
# **Cause.** A decay of 10 on all weights, those of the norms included. AdamW multiplies each weight by $1 -
# \text{lr} \cdot 10$, at the peak by 0.8, in each step. The turn comes when the warm-up is over and the rate is at
# its highest. Small weights mean logits near zero, and those mean guessing.
#
# **Cure.** A decay near 0.1, on matrices only. minitrain leaves norms and biases alone by itself; here a
# `ParamGroup` overruled that.
#
# **The library** says "turned back", and not "overfitting". That would mean that the two losses move *apart*, and they
# lie on each other. It names the decay as one of two suspects. Which one it is, the curves do not say; the norms of the
# weights would (`WeightStatistics`).
#
# ### Run K

# %%
show("K")

# %% [markdown]
# **Signature.** A smooth curve that ends at a suspicious number:
# {{ broken["K"]["train_loss"][-1]:.3f | 0.35 ± 0.01 }}, which is $\frac12 \ln 2 = 0.347$. Two of the four points are
# solved, with a loss near 0. For the other two, the model is undecided, $\ln 2$ each.
#
# **Cause.** An unlucky seed. The network has three hidden ReLUs, and XOR needs two of them at the right places. From
# these initial weights, gradient descent ends in a valley from which no downhill path leads out. (The jumps of the
# gradient are kinks: one of the four points crosses the edge of a ReLU.)
#
# **Cure.** Another seed shows what it is. More units make it rare:

# %%
ends = {hidden: [xor_run(seed, hidden)["train_loss"][-1] for seed in range(12)] for hidden in (3, 16)}
figure, axes = plt.subplots(figsize=(7.5, 3.4))
for hidden, color, shift in [(3, RED, -0.15), (16, BLUE, 0.15)]:
    axes.bar(np.arange(12) + shift, ends[hidden], width=0.3, color=color, label=f"{hidden} hidden units")
axes.axhline(np.log(2) / 2, color=GREY, linestyle=":", label=r"$\frac{1}{2}\,\ln 2$: two points undecided")
axes.set(xlabel="seed", ylabel="loss after 150 steps", xticks=range(12))
axes.legend()
plt.show()
stuck = {hidden: sum(end > 0.2 for end in ends[hidden]) for hidden in ends}

# %% [markdown]
# With 3 units, {{ stuck[3] | ≥ 3 }} of 12 seeds are stuck, with 16 units {{ stuck[16] | ≤ 1 }}. Large models have so
# many units that they rarely get stuck like this. They are unlucky in milder ways: two seeds of the same run often
# differ by more than the change that you wanted to measure.
#
# **The library** sees that it stands still, at half the loss of guessing, where there is hardly a gradient left. "It
# may be done" is among its words, and has to be: a network that has learned all there is to learn looks the same.
# Only another seed can tell.
#
# ### Run L

# %%
show("L")

# %% [markdown]
# **Signature.** The loss jumps *above guessing* in the first steps, to
# {{ max(broken["L"]["train_loss"][:10]):.1f | ≥ 3.5 }}. It comes down again, but for the rest of the run it stays
# behind: {{ broken["L"]["val_loss"][-1]:.2f | 2.6 ± 0.2 }} instead of {{ repaired["L"]["val_loss"][-1]:.2f | 2.26 ±
# 0.15 }} at the end.
#
# **Cause.** AdamW at its full rate of 0.1 from step 0, when its moments rest on a single batch. The model was thrown
# to a bad place, from which it must find back.
#
# **Cure.** A warm-up. With 50 steps of it the same rate is fine.
#
# **The library** sees the jump above the beginning, and that it is larger than the noise. With other seeds the jump may
# be smaller, and then nothing is left to see but a run that is not quite good.
#
# ## What a rule can see
#
# Here is all of it in one table.

# %%
causes = {
    "A": ("shuffled targets", "ignores its input"),
    "B": ("rate too high", "not finite"),
    "C": ("validation in training", "too good"),
    "D": ("broken sample", "not finite"),
    "E": ("no zero_grad", "gradients add up"),
    "F": ("rate too low", "slow"),
    "G": ("dead ReLUs", "dead units"),
    "H": ("future visible", "too good"),
    "I": ("batch of one", "unstable"),
    "J": ("decay on everything", "turned back"),
    "K": ("unlucky seed", "plateau"),
    "L": ("no warm-up", "rough start"),
}
alone = {letter: ", ".join(one.kind for one in diagnose(broken[letter])) for letter in causes}
knowing = {letter: ", ".join(one.kind for one in diagnose(broken[letter], levels[letter])) for letter in causes}
print(f"{'':3}{'cause':24}{'from the curves alone':24}with the levels of the loss")
for letter, (cause, _) in causes.items():
    print(f"{letter:3}{cause:24}{alone[letter] or '.':24}{knowing[letter]}")
silent = [letter for letter in causes if not alone[letter]]
print("\nWhat curves do not show:")
for spot in blind_spots(levels["A"]):
    print(textwrap.fill(spot, 110, initial_indent="  - ", subsequent_indent="    "))

# %% tags=["hidden"]
assert {letter: kind for letter, (_, kind) in causes.items()} == knowing
assert {"C", "H"} <= set(silent) <= {"A", "C", "H"}
assert "climb: train_loss went" in diagnose(broken["B"])[0].message
assert "rate did not do it" in diagnose(broken["D"])[0].message
assert [one.kind for one in diagnose(repaired["C"], levels["C"])] == ["overfitting"]
assert not any(diagnose(repaired[letter], levels[letter]) for letter in causes if letter != "C")
assert len(shared) == 50
assert "dead units" in [one.kind for one in result.history.diagnose_training_issues()]
assert len(healthy["train_loss"]) == 150

# %% [markdown]
# The healthy runs get not a word. That is the hard part: a rule must keep quiet about healthy runs, or nobody reads it.
# So the rules are wide, and there are things that they cannot see. Of the twelve, {{ ", ".join(silent) }} stay unseen
# until somebody says where the loss must begin, where it may stand, and where it cannot go. A name such as "plateau" or
# "too good" is not yet a cause, either. Two causes stand behind "too good", and only a look at the model and at the
# data told them apart.
#
# You know your task better than any library. So write rules *for your task*.
#
# **Exercise 2.** Is a first loss where it should be? There are several runs: `losses` has the first loss of each, and
# `classes` its number of classes. Return, for each run, whether the loss is at most 0.2 nats above or below that of
# guessing evenly. `np.log(27)` is the natural logarithm.

# %% tags=["folded"]
start_exercise = Exercise(
    "start_is_right",
    reference=lambda losses, classes: np.abs(losses - np.log(classes)) < 0.2,
    inputs={
        "losses": np.array([3.31, 2.72, 2.31, 0.69, 1.9, 4.2, 10.8]),
        "classes": np.array([27, 10, 10, 2, 10, 27, 50257]),
    },
    hints=[
        "What does guessing evenly among n classes cost?",
        "Compare with np.log(classes), in both directions.",
        "return np.abs(losses - np.log(classes)) < 0.2",
    ],
    advice={
        "element (4,)": "1.9 is far below ln 10: does the answer leak in? Too low counts too.",
        "element (0,)": "3.31 is right for 27 classes. The loss is in nats: which logarithm is that?",
        "shape": "Return one True or False for each run, as an array.",
    },
)


# %% tags=["exercise"]
def start_is_right(losses, classes): ...  # your turn


start_exercise.check(start_is_right)


# %% tags=["solution"]
def start_is_right(losses, classes):
    return np.abs(losses - np.log(classes)) < 0.2


start_exercise.check(start_is_right)

# %% tags=["hidden"]
start_exercise.expect(lambda losses, classes: losses - np.log(classes) < 0.2, "Too low counts too")
start_exercise.expect(lambda losses, classes: np.abs(losses - np.log10(classes)) < 0.2, "which logarithm")
start_exercise.expect(lambda losses, classes: np.abs(losses - np.log2(classes)) < 0.2, "which logarithm")
start_exercise.expect(lambda losses, classes: (np.abs(losses - np.log(classes)) < 0.2).all(), "for each run")
start_exercise.expect(lambda losses, classes: None, "not written yet")

# %% [markdown]
# **Exercise 3.** A gradient norm is a *spike* if it is more than `factor` times the **median** of the `window` norms
# just before it. Return True or False for each step. The first `window` steps are never spikes.
#
# Why the median, and why only the norms just before? Try the mean, or the median of all norms, and see what the
# check says.
#
# <details markdown><summary>Hint</summary>
#
# A loop over `i` from `window` to the end is fine. The norms before step `i` are `norms[i - window : i]`.
#
# </details>


# %% tags=["folded"]
def reference_spikes(norms, window, factor):
    found = np.zeros(len(norms), bool)
    for i in range(window, len(norms)):
        found[i] = norms[i] > factor * np.median(norms[i - window : i])
    return found


time = np.arange(60)
norms = (1 + 19 * np.exp(-time / 6)) * np.exp(0.1 * np.random.default_rng(0).standard_normal(60))
norms[[30, 33, 45]] *= [40, 8, 6]
spike_exercise = Exercise(
    "spikes",
    reference=reference_spikes,
    inputs={"norms": norms, "window": 8, "factor": 4.0},
    hints=[
        "Begin with an array of False, and set single elements.",
        "For step i compare norms[i] with factor * np.median(norms[i - window : i]).",
        "found = np.zeros(len(norms), bool); then a loop from window to len(norms), and return found.",
    ],
    advice={
        "element (33,)": "The spike at 30 lifts the mean of its window and hides the second spike. A median stays.",
        "element (0,)": "Early norms are always large. Compare with the norms just before; skip the first window.",
        "element (8,)": "A norm as usual is no spike. Multiply the median by the factor.",
        "shape": "Return True or False for each step, not the places.",
    },
)


# %% tags=["exercise"]
def spikes(norms, window, factor): ...  # your turn


spike_exercise.check(spikes)


# %% tags=["solution"]
def spikes(norms, window, factor):
    found = np.zeros(len(norms), bool)
    for i in range(window, len(norms)):
        found[i] = norms[i] > factor * np.median(norms[i - window : i])
    return found


spike_exercise.check(spikes)


# %% tags=["hidden"]
def by_mean(norms, window, factor):
    return np.array([i >= window and norms[i] > factor * norms[i - window : i].mean() for i in range(len(norms))])


def without_factor(norms, window, factor):
    return np.array([i >= window and norms[i] > np.median(norms[i - window : i]) for i in range(len(norms))])


spike_exercise.expect(by_mean, "hides the second")
spike_exercise.expect(lambda norms, window, factor: norms > factor * np.median(norms), "Early norms")
spike_exercise.expect(lambda *given: np.flatnonzero(reference_spikes(*given)), "not the places")
spike_exercise.expect(without_factor, "the reference has")
spike_exercise.expect(lambda *given: None, "not written yet")

# %% [markdown]
# Now both detectors, and three more lines that know the task, on all runs:

# %%
guess = {"text": V, "digits": 10, "XOR": 2}
headings = ["start", "spikes", "above guess", "at frequencies", "too good", "not finite"]
print(f"{'run':27}" + "".join(f"{heading:16}" for heading in headings))
flags = {}
for letter, history in {"healthy": healthy, **broken}.items():
    kind = task.get(letter, "text")
    losses, norms = np.array(history["train_loss"]), np.array(history["grad_norm"])
    late = losses[-30:].mean()
    known = frequent if kind == "text" else np.log(guess[kind])
    flags[letter] = [
        not start_is_right(losses[:1], np.array([guess[kind]]))[0],
        spikes(norms, 10, 6.0).any(),
        (losses > 1.2 * np.log(guess[kind])).any(),
        abs(late - known) < 0.03,
        kind == "text" and late < 1.5,
        not np.isfinite(losses).all(),
    ]
    name = f"{letter} {causes[letter][0] if letter in causes else ''}"
    print(f"{name:27}" + "".join(f"{'yes' if flag else '.':16}" for flag in flags[letter]))
unseen = [letter for letter in broken if not any(flags[letter])]

# %% tags=["hidden"]
assert not any(flags["healthy"])
assert {"C", "F", "J"} <= set(unseen)
assert flags["A"][3]
assert flags["H"][4]
assert flags["D"][5]
assert flags["E"][2]
assert flags["L"][2]

# %% [markdown]
# The healthy run is not flagged. Not seen by any of them: {{ ", ".join(unseen) }}. For those you need something
# beside the curves: a split that you trust (C), a second run (F), a look at the weights (J). And K is flagged for
# its kinks, which are not its trouble: a detector may be right by accident.
#
# ## A thirteenth
#
# One more, without an answer beside it. What happened here? (Digits, batches of 64. Only one thing is different from
# the healthy run.)

# %% tags=["folded"]
by_class = np.argsort(classes[:1400], kind="stable")


def sorted_batches(step):
    chosen = by_class[(np.arange(64) + 64 * step) % 1400]
    return pixels[chosen], classes[chosen]


thirteenth = digits_run(sorted_batches)

# %%
figure, axes = plt.subplots(figsize=(9, 3.4))
draw_loss(axes, thirteenth, "digits", limit=4.6)
axes.set(xlabel="step", ylabel="loss")
axes.legend(loc="upper right", fontsize=9)
plt.show()

# %% [markdown]
# <details markdown><summary>The answer</summary>
#
# The pictures are sorted by class: first all zeros, then all ones. One round takes 22 steps. Within a class
# the training loss falls, in the end to nearly nothing, since "always 3" is right. At each border it jumps. The
# validation loss has all classes, and stays bad. Shuffle the training data.
#
# </details>
#
# ## Questions
#
# 1. A and G both stand still. Which single number tells them apart, and from a model that has learned all there is?
# 2. In H, validation had the same mistake as training, and in C too. What kind of mistake can validation find at all?
# 3. Someone forgets to divide the gradient by the number of letters, 256. What do you see with SGD? With AdamW? With
#    AdamW and clipping to norm 1?
# 4. Your run is NaN at step 40,000 after three days. What would you want to have recorded?
# 5. A first version of the library's rules called J "overfitting": the validation loss was above its best, and the
#    training loss fell a little in the second half. What does the rule need to know about *when* the validation loss
#    was best?
#
# ## Further reading
#
# - Karpathy, 2019, *A recipe for training neural networks*: the order in which to look for mistakes.
# - Chowdhery et al., 2022, *PaLM*, arXiv:2204.02311, section 5.1: spikes in a large run, and what was done.
# - Lu et al., 2020, *Dying ReLU and initialization*, arXiv:1903.06733.
# - Zhang et al., 2017, *Understanding deep learning requires rethinking generalization*, arXiv:1611.03530: networks
#   that learn random labels by heart.
# - [Training](../training.md), and [callbacks](../callbacks.md): guards, and what can be recorded.
# - The next notebook: [generation](10_generation.md).
