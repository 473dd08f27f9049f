# %% [markdown]
# # 14. Images and words
#
# After this notebook you can
#
# - write the loss of CLIP, and say how low it can come when texts repeat;
# - read a matrix of cosines, and find images by words and words by images;
# - make classifiers out of sentences, without a single label, and say what several prompts are good for;
# - train a model that writes about images, and see where it looks for each word;
# - show it something that it has never seen, and find out why it fails.
#
# You need [softmax and cross-entropy](03_softmax_and_cross_entropy.md), [attention](05_attention.md), and the
# cross-attention of [translation](13_translation_with_alignments.md). It takes about 50 minutes.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from minitrain.data import data_set
from minitrain.inside import capture
from minitrain.losses import InfoNCELoss
from minitrain.runs import load_run, recipe, start_run
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## Pictures with sentences
#
# The world of this notebook has 48 things: circles, squares, triangles and crosses in six colours, small and large.
# Each picture shows one of them somewhere, and has three sentences that say what. The catalog of minitrain draws as
# many as we ask for.
#
# We write them as you would keep your own data: a folder with image files, and a table with a line for each. One
# thing is left out on purpose. In all training pictures there is no *yellow triangle*. There are yellow things, and
# there are triangles. We come back to it.

# %%
data = data_set("single_shapes").prepare()
HIDDEN = "yellow triangle"


def write(name, records, keep):
    """Image files and captions.jsonl; returns images (N, 3, 32, 32), sentences and labels."""
    Path(name).mkdir()
    rows = [row for row in records if keep(row["label"])]
    lines = []
    for number, row in enumerate(rows):
        Image.fromarray(row["image"].transpose(1, 2, 0)).save(f"{name}/{number:04}.png")
        lines.append(json.dumps({"file": f"{number:04}.png", "caption": row["caption"], "label": row["label"]}))
    Path(name, "captions.jsonl").write_text("\n".join(lines) + "\n")
    return np.stack([row["image"] for row in rows]), [row["caption"] for row in rows], [row["label"] for row in rows]


some = [data.train[i] for i in range(1600)]
train_images, train_texts, train_labels = write("train", some, lambda label: HIDDEN not in label)
images, texts, labels = write("test", [data.test[i] for i in range(300)], lambda label: HIDDEN not in label)
strange = [row for row in (data.train[i] for i in range(1600, 2400)) if HIDDEN in row["label"]]
print(f"{len(train_images)} to train on, {len(images)} to test on, {len(strange)} {HIDDEN}s for later")

figure, all_axes = plt.subplots(2, 6, figsize=(10, 3.9))
for axes, image, text in zip(all_axes.flat, images, texts, strict=False):
    axes.imshow(image.transpose(1, 2, 0))
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(text[0], fontsize=8)
plt.show()

# %% [markdown]
# ## Two encoders, one space
#
# One network turns an image into a vector of 64 numbers, the *features*: a vision transformer, which cuts the image
# into patches of 4 × 4 pixels and treats them as tokens. Another does the same with a sentence. Nothing in their
# construction brings the two together. The loss does: what belongs together shall point in the same direction.
#
# Take a batch of $N$ pairs. $s_{ij}$ is the cosine of the angle between the features of image $i$ and those of text
# $j$. Multiplied by a factor $\tau$, which is learned, a row of these is a classification: *which of these N texts
# belongs to image i?* The right answer is text $i$. A column asks the same the other way round. The loss is the mean
# of both cross-entropies (CLIP, Radford et al., 2021):
#
# $$L = \frac{1}{2N} \sum_i \Big( -\log \frac{e^{\tau s_{ii}}}{\sum_j e^{\tau s_{ij}}}
# -\log \frac{e^{\tau s_{ii}}}{\sum_j e^{\tau s_{ji}}} \Big)$$
#
# What is it before training, when all texts are alike to the network? Guess, then read on.
#
# **Exercise 1.** Compute $L$ from features (N, C) of images and of texts, of any lengths, and the factor.


# %% tags=["folded"]
def reference_loss(image, text, factor):
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    z = factor * u @ v.T
    return np.mean([np.log(np.exp(z).sum(axis=axis)) - np.diag(z) for axis in (0, 1)])


loss_exercise = Exercise(
    "contrastive_loss",
    reference=reference_loss,
    inputs={"image": (5, 4), "text": (5, 4), "factor": 3.0},
    hints=[
        "Divide each row by its length, np.linalg.norm(x, axis=1, keepdims=True). Then u @ v.T has all cosines.",
        "np.log(np.exp(z).sum(axis=1)) - np.diag(z) are the losses of the images; those of the texts sum over axis 0.",
        "The result is the mean of the two means.",
    ],
    advice={
        "the shape is": "One number is asked for: the mean over all pairs and both directions.",
        "are 2 times that": "It is the mean over pairs *and* directions: 2N terms.",
        "Result 0": "Check three things: every row has length 1 before the product, the factor multiplies the cosines, "
        "and both directions count.",
    },
)


# %% tags=["exercise"]
def contrastive_loss(image, text, factor): ...  # your turn


loss_exercise.check(contrastive_loss)


# %% tags=["solution"]
def contrastive_loss(image, text, factor):
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    z = factor * u @ v.T  # (N, N)
    by_image = np.log(np.exp(z).sum(axis=1)) - np.diag(z)
    by_text = np.log(np.exp(z).sum(axis=0)) - np.diag(z)
    return (by_image.mean() + by_text.mean()) / 2


loss_exercise.check(contrastive_loss)


# %% tags=["hidden"]
def one_way(image, text, factor):
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    return np.mean(np.log(np.exp(factor * u @ v.T).sum(axis=1)) - factor * np.diag(u @ v.T))


def not_normalised(image, text, factor):
    z = factor * image @ text.T
    return np.mean([np.log(np.exp(z).sum(axis=axis)) - np.diag(z) for axis in (0, 1)])


loss_exercise.expect(one_way, "both directions count")
loss_exercise.expect(not_normalised, "every row has length 1")
loss_exercise.expect(lambda a, b, f: 2 * reference_loss(a, b, f), "2N terms")
loss_exercise.expect(lambda a, b, f: np.full(5, reference_loss(a, b, f)), "One number is asked for")
image, text = np.random.default_rng(0).standard_normal((2, 6, 3))
assert np.isclose(contrastive_loss(image, text, 2.0), InfoNCELoss(temperature=0.5).forward(image, text)[0].mean)

# %% [markdown]
# If all texts are alike, each has the probability $1/N$, and the loss is $\ln N$: {{ np.log(64):.2f | 4.16 ± 0.01 }}
# for the 64 pairs of our batches.
#
# ## How low can it come?
#
# To 0, you would say. But there are only 46 things to be seen here, and 64 pairs in a batch. Some of them show the
# same, and have the same sentence. *Which* of two equal texts belongs to image $i$? Nobody can know. The best that a
# model can do is to divide its probability evenly among them.
#
# **Exercise 2.** Compute the lowest possible loss of a batch. `groups` (N,) are integers, equal for equal texts.


# %% tags=["folded"]
def reference_floor(groups):
    return np.log((groups[:, None] == groups).sum(axis=1)).mean()


floor_exercise = Exercise(
    "lowest_loss",
    reference=reference_floor,
    inputs={"groups": np.array([0, 1, 2, 1, 3, 1, 0])},
    hints=[
        "An image whose text occurs k times gives each of them the probability 1 / k at best.",
        "groups[:, None] == groups is (N, N): who has the same text as whom. Its row sums are the k.",
        "The mean of ln k over all pairs. Columns give the same as rows.",
    ],
    advice={
        "the shape is": "One number: the mean over the batch.",
        "are 7 times that": "The mean over the pairs, of natural logarithms, is asked for.",
        "Result 0": "Take the logarithm for each *pair*, and then the mean: a text that occurs three times counts "
        "three times. A text that occurs once costs ln 1 = 0.",
    },
)


# %% tags=["exercise"]
def lowest_loss(groups): ...  # your turn


floor_exercise.check(lowest_loss)


# %% tags=["solution"]
def lowest_loss(groups):
    same = (groups[:, None] == groups).sum(axis=1)  # (N,) how often the text of each pair occurs
    return np.log(same).mean()


floor_exercise.check(lowest_loss)

# %% tags=["hidden"]
floor_exercise.expect(lambda g: np.log(np.unique(g, return_counts=True)[1]).mean(), "for each *pair*")
floor_exercise.expect(lambda g: np.log((g[:, None] == g).sum(axis=1).mean()), "and then the mean")
floor_exercise.expect(lambda g: np.log((g[:, None] == g).sum(axis=1)).sum(), "The mean over the pairs")
floor_exercise.expect(lambda g: np.log((g[:, None] == g).sum(axis=1)), "One number")

# %%
numbers = np.unique(train_labels, return_inverse=True)[1]
batches = [np.random.default_rng(i).choice(len(numbers), 64, replace=False) for i in range(200)]
floors = [lowest_loss(numbers[batch]) for batch in batches]
groups = numbers[batches[0]]
perfect = np.eye(48)[groups]  # features that are equal for equal texts, and at right angles otherwise
with_repeats, without = (
    InfoNCELoss(temperature=0.01).forward(perfect, perfect, *given)[0].mean for given in ((), (groups,))
)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
left.imshow(groups[:, None] == groups, cmap="Blues", vmax=1.3)
left.set(title="Pairs of a batch with the same text", xlabel="text", ylabel="image")
right.hist(floors, bins=20, color=BLUE)
right.axvline(np.log(64), color=GREY, linestyle="--")
right.text(np.log(64) - 0.05, 15, "all alike", ha="right", color=GREY)
right.set(xlabel="lowest possible loss", ylabel="batches", title="The floor of 200 batches", xlim=(0, 4.4))
plt.show()

# %% [markdown]
# Every blue cell off the diagonal is a demand that nobody can meet. The floor of such batches is
# {{ np.mean(floors):.2f | 0.7 ± 0.2 }} on average. Perfect features have a loss of {{ with_repeats:.2f }} on the
# batch that is drawn, and that is its floor.
#
# A floor is not harmful by itself. But the gradient goes on pushing apart what is equal, and a loss of 0.7 does not
# tell you that you are done. So minitrain leaves these cells out of both sums: pairs of one *group* are no negatives
# of each other. Then perfect features have the loss {{ abs(without):.2f | ≤ 0.001 }}. (Large collections of images
# from the web have the same problem in a milder form. There, thousands of captions say nearly the same.)

# %% [markdown]
# ## Training
#
# `task=contrastive` trains both encoders. `prompts` are for later. The words of the sentences are the tokens.

# %%
shared = {"path": "train", "val_path": "test", "tokenizer": "word", "keep": True, "size": 32}
config = recipe(
    "shapes",
    run_dir="clip",
    data={"dataset": None, "block_size": 8, "label": "label", **shared},
    trainer={"max_steps": 200, "validation_frequency": 100, "log_every": 2, "save_every": 0},
)
run = start_run(config)
fresh = {name: value.copy() for name, value in run.trainer.model.state_dict().items()}
result = run.train()
clip = load_run("clip")
model, processor = clip.model, clip.processor
found = result.validation.values
print(result.validation.describe())

# %% [markdown]
# Features first: every test image with the first of its sentences, before and after.


# %%
def image_features(pixels):
    """Directions (N, C) of images (N, 3, 32, 32)."""
    arrays = np.concatenate([processor.pictures.array(one) for one in pixels])  # normalised as in training
    features, _ = model.image.forward(arrays)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def text_features(sentences):
    """Directions (N, C) of sentences."""
    ids = [processor.tokenizer.encode(one) for one in sentences]
    lengths = np.array([len(one) for one in ids], np.int32)
    padded = np.zeros((len(ids), lengths.max()), np.int32)
    for row, one in zip(padded, ids, strict=True):
        row[: len(one)] = one
    features, _ = model.text.forward(padded, lengths=lengths)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


first = [text[0] for text in texts]
trained = model.state_dict()
trained = {name: value.copy() for name, value in trained.items()}
model.load_state_dict(fresh)
before = image_features(images), text_features(first)
model.load_state_dict(trained)
after = image_features(images), text_features(first)

order = np.lexsort((labels, [label.split()[1] for label in labels]))[:: len(labels) // 24][:24]
figure, all_axes = plt.subplots(1, 2, figsize=(10.5, 4.8), sharey=True)
for axes, (u, v), title in zip(all_axes, (before, after), ("before training", "after"), strict=True):
    picture = axes.imshow(u[order] @ v[order].T, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(24), [labels[i] for i in order], rotation=90, fontsize=7)
    axes.set(title=title, xlabel="text")
all_axes[0].set_yticks(range(24), [labels[i] for i in order], fontsize=7)
all_axes[0].set_ylabel("image")
figure.colorbar(picture, ax=all_axes, label="cosine", shrink=0.8)
plt.show()
same = np.array(labels)[:, None] == np.array(labels)
matching, others = ((after[0] @ after[1].T)[where].mean() for where in (same, ~same))
factor = float(np.exp(trained["contrast.temperature.log_scale"]))
batch = np.arange(64)
left_out, counted = (
    InfoNCELoss(1 / factor).forward(after[0][batch], after[1][batch], *given)[0].mean
    for given in ((np.unique(np.array(labels)[batch], return_inverse=True)[1],), ())
)
lowest = lowest_loss(np.unique(np.array(labels)[batch], return_inverse=True)[1])

# %% [markdown]
# Before, all columns look alike: every text has nearly the same direction. After, the diagonal stands out. Matching
# pairs have a mean cosine of {{ matching:.2f | ≥ 0.8 }}, the others {{ others:.2f | ≤ 0.35 }}. Look at the blocks
# beside the diagonal: things of the same colour are nearer to each other. The network was never told what a colour
# is.
#
# On 64 test pairs, the loss without repeated texts is {{ left_out:.2f | ≤ 0.8 }}. If repeats are counted as wrong,
# it is {{ counted:.2f }}, and the floor of these 64 pairs is {{ lowest:.2f }}. The same model, two numbers: say
# which one you mean.
#
# All features in a plane, along the two directions in which they differ most:

# %%
together = np.concatenate(after)
centred = together - together.mean(axis=0)
axes_of_most = np.linalg.svd(centred, full_matrices=False)[2][:2]
plane = (centred @ axes_of_most.T).reshape(2, len(images), 2)
figure, axes = plt.subplots(figsize=(7, 5.2))
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW, "purple": PURPLE, "black": "black"}
for name, color in COLOURS.items():
    chosen = [i for i, label in enumerate(labels) if label.split()[1] == name]
    axes.scatter(*plane[0][chosen].T, s=14, color=color, label=name)
    axes.scatter(*plane[1][chosen].T, s=90, marker="s", facecolors="none", edgecolors=color)
axes.set(xticks=[], yticks=[], title="dots: images, squares: sentences")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## Searching
#
# To find images by words, encode the words, and sort all images by their cosine. Nothing else is needed: no index of
# keywords, no list of classes.

# %%
queries = ["a small red circle", "there is a large blue cross here", "a large green square"]
similar = text_features(queries) @ after[0].T  # (queries, images)
figure, all_axes = plt.subplots(len(queries), 6, figsize=(10, 1.8 * len(queries)))
for row, query, scores in zip(all_axes, queries, similar, strict=True):
    for axes, i in zip(row, np.argsort(-scores), strict=False):
        axes.imshow(images[i].transpose(1, 2, 0))
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{scores[i]:.2f}", fontsize=8, color=GREEN if labels[i] in query else RED)
    row[0].set_ylabel(query.replace("there is ", "there is\n"), fontsize=8)
plt.show()

# %% [markdown]
# The table above has it for all test pairs: the right text is nearest to an image in {{ found["text R@1 %"]:.0%
# | ≥ 0.5 }} of the cases (recall at 1), where guessing would find one in 46. A text finds its image first in
# {{ found["image R@1 %"]:.0% }}. Equal texts count as right, and ties against the model: one that gives everything
# the same features finds nothing.
#
# ## Classes made of sentences
#
# Which colour does this image have? Nobody trained a classifier of colours. But write a sentence for each colour, and
# take the one that is nearest. That is *zero-shot* classification. One sentence says other things, too: "a small red
# circle" is about a circle. So take many sentences for each class and average their directions. What they have in
# common, the colour, remains.
#
# **Exercise 3.** From the features of the prompts, a list with an array (P, C) for each of V classes, compute the
# features of the classes (V, C): each prompt is scaled to length 1, the mean of each class is taken, and the mean is
# scaled to length 1 again.


# %% tags=["folded"]
def reference_classes(prompts):
    means = [(p / np.linalg.norm(p, axis=1, keepdims=True)).mean(axis=0) for p in prompts]
    return np.stack([mean / np.linalg.norm(mean) for mean in means])


classes_exercise = Exercise(
    "class_features",
    reference=reference_classes,
    inputs={"prompts": list(np.random.default_rng(2).standard_normal((3, 4, 5)) * np.array([1, 5, 2, 9])[:, None])},
    hints=[
        "np.linalg.norm(p, axis=1, keepdims=True) are the lengths of the prompts of a class.",
        "The mean over axis 0 is one vector (C,). It is shorter than 1.",
        "np.stack makes an array (V, C) of a list of vectors.",
    ],
    advice={
        "the shape is": "One vector for each class: the mean goes over the prompts.",
        "Result 0": "Scale twice: every prompt before the mean, so that a long one does not outweigh the others, and "
        "the mean itself.",
    },
)


# %% tags=["exercise"]
def class_features(prompts): ...  # your turn


classes_exercise.check(class_features)


# %% tags=["solution"]
def class_features(prompts):
    means = [(p / np.linalg.norm(p, axis=1, keepdims=True)).mean(axis=0) for p in prompts]
    return np.stack([mean / np.linalg.norm(mean) for mean in means])


classes_exercise.check(class_features)

# %% tags=["hidden"]
classes_exercise.expect(lambda ps: np.stack([p.mean(0) / np.linalg.norm(p.mean(0)) for p in ps]), "Scale twice")
classes_exercise.expect(
    lambda ps: np.stack([(p / np.linalg.norm(p, axis=1, keepdims=True)).mean(0) for p in ps]), "Scale twice"
)
classes_exercise.expect(lambda ps: np.stack(ps), "One vector for each class")

# %%
SIZES, KINDS = ("small", "large"), ("circle", "square", "triangle", "cross")
every = [f"{size} {colour} {kind}" for size in SIZES for colour in COLOURS for kind in KINDS]
results = {}
for place, names in enumerate((SIZES, tuple(COLOURS), KINDS)):
    truth = np.array([names.index(label.split()[place]) for label in labels])
    one = [[f"a {next(e for e in every if name in e)}"] for name in names]
    many = [[f"a {e}" for e in every if name in e.split()] for name in names]
    for kind, prompts in (("one sentence", one), ("all sentences with it", many)):
        classes = class_features([text_features(some) for some in prompts])
        results[("size", "colour", "shape")[place], kind] = ((after[0] @ classes.T).argmax(axis=1) == truth).mean()

figure, axes = plt.subplots(figsize=(7, 3.2))
for i, (kind, color) in enumerate({"one sentence": GREY, "all sentences with it": BLUE}.items()):
    values = [results[question, kind] for question in ("size", "colour", "shape")]
    bars = axes.bar(np.arange(3) + 0.38 * (i - 0.5), values, width=0.36, color=color, label=kind)
    axes.bar_label(bars, [f"{value:.0%}" for value in values])
for i, names in enumerate((SIZES, COLOURS, KINDS)):
    axes.plot([i - 0.4, i + 0.4], [1 / len(names)] * 2, color=RED, linestyle="--", label="guessing" if not i else None)
axes.set_xticks(range(3), ["which size?", "which colour?", "which shape?"])
axes.set(ylabel="share that is right", ylim=(0, 1.1))
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
single = np.mean([results[question, "one sentence"] for question in ("size", "colour", "shape")])
ensemble = np.mean([results[question, "all sentences with it"] for question in ("size", "colour", "shape")])

# %% tags=["hidden"]
assert ensemble > single
assert results["colour", "all sentences with it"] > 0.7

# %% [markdown]
# Three classifiers, and no label was used for any of them. On the mean of the three questions, one sentence a class
# is right in {{ single:.0%
# }}, and the average of many in {{ ensemble:.0% | ≥ 0.6 }}. CLIP gained a few percent on ImageNet in this way, with
# 80 prompts such as "a photo of a big {}". Here a single prompt carries much that does not belong to the class, so
# the gain is larger.
#
# Look at the shape alone, too: {{ results["shape", "one sentence"]:.0% }} with one sentence, and
# {{ results["shape", "all sentences with it"]:.0% }} with many. An average helps only where the features have
# something in common. The loss asked for whole sentences, and gave shapes of different colours no common direction.
#
# And the yellow triangles, which it has never seen? Their nearest of all 48 sentences:

# %%
unseen = image_features([row["image"] for row in strange])
nearest = (unseen @ text_features([f"a {name}" for name in every]).T).argmax(axis=1)
right = np.mean([every[i] == row["label"] for i, row in zip(nearest, strange, strict=True)])
colour = np.mean([every[i].split()[1] == "yellow" for i in nearest])
shape = np.mean([every[i].split()[2] == "triangle" for i in nearest])
print(f"{len(strange)} pictures: all right {right:.0%}, colour right {colour:.0%}, shape right {shape:.0%}")

# %% [markdown]
# Read these three numbers together. The whole sentence is right in {{ right:.0% }}, the colour in {{ colour:.0% }}
# and the shape in {{ shape:.0% }}. Parts can be understood while their new combination is not: the loss never asked
# for parts. It asked which of 64 sentences belongs to a picture, and there was no yellow triangle among the
# pictures. Large models have the same weakness: they often treat a sentence as a bag of words (Yuksekgonul et al.,
# 2023).
#
# ## Writing instead of choosing
#
# A *captioner* writes the sentence itself. It is the encoder–decoder of notebook 13 with patches in place of digits.
# The cross-attention says, for each word, which patches it is taken from.

# %%
config = recipe(
    "captioning",
    run_dir="captioner",
    data={"dataset": None, "block_size": 10, "shift": 0, **shared},
    model={"n_layer": 2, "decoder_layer": 1},
    trainer={"max_steps": 160, "batch_size": 64, "validation_frequency": 80, "log_every": 4, "save_every": 0},
)
result = start_run(config).train()
writer = load_run("captioner")
written = result.validation.values
print(result.validation.describe())


# %%
def write_and_look(image):
    """What the captioner writes about an image, and the weights (words, 8, 8) of the patches."""
    tokenizer = writer.processor.tokenizer
    start, end = tokenizer.special_id("<bos>"), tokenizer.special_id("<eos>")
    array = writer.processor.pictures.array(image)
    ids = writer.model.generate(array, start=start, end=end, max_new_tokens=9)
    with capture(writer.model, "decoder.0.cross.weights") as inside:
        writer.model.forward(array, ids[:, :-1])
    weights = inside["decoder.0.cross.weights"][0].mean(axis=0)  # (T, patches), mean of the heads
    words = ["end" if i == end else tokenizer.decode([i]) for i in ids[0, 1:].tolist()]
    return words, weights.reshape(len(words), 8, 8)


def draw_looks(pictures):
    looks = [write_and_look(picture) for picture in pictures]
    columns = 1 + max(len(words) for words, _ in looks)
    figure, all_axes = plt.subplots(len(pictures), columns, figsize=(1.15 * columns, 1.4 * len(pictures)))
    for row, picture, (words, weights) in zip(all_axes, pictures, looks, strict=True):
        for axes in row:
            axes.axis("off")
        row[0].imshow(picture.transpose(1, 2, 0))
        for axes, word, weight in zip(row[1:], words, weights, strict=False):
            light = np.kron(weight / weight.max(), np.ones((4, 4)))[..., None]
            axes.imshow(picture.transpose(1, 2, 0) / 255 * (0.2 + 0.8 * light))
            axes.set_title(word, fontsize=8)
    plt.show()


draw_looks([images[i] for i in (0, 3, 7)])


# %%
def on_the_thing(image, weights):
    """The share of the weights that lies on patches with something in them, and the share of such patches."""
    thing = (np.abs(image.astype(int) - 235).max(axis=0) > 20).reshape(8, 4, 8, 4).any(axis=(1, 3))
    return float(weights[:, thing].sum(axis=1).mean()), float(thing.mean())


shares = np.array([on_the_thing(image, write_and_look(image)[1]) for image in images[:60]])
looked, there = shares.mean(axis=0)

# %% [markdown]
# It is right in every word for {{ written["right %"]:.0% | ≥ 0.3 }} of the test images. The thing covers
# {{ there:.0% | 0.12 ± 0.1 }} of the patches and gets {{ looked:.0% | ≥ 0.15 }} of the attention.
#
# Now something that it was never trained for: pictures with *two* things. What will it write, and where will it look?

# %%
two = [row for row in (data_set("shapes").prepare().test[i] for i in range(40)) if row["count"] == 2][:3]
for row in two:
    print(f"{' '.join(write_and_look(row['image'])[0][:-1]):<44} (there is: {row['caption']})")
draw_looks([row["image"] for row in two])

# %% [markdown]
# It writes one sentence about one thing, for it knows no others. Compare the words with the places: is it a sentence
# about one of the two, or has it the colour of one and the shape of the other? Attention mixes the values of all
# patches that it looks at. Nothing in the mixture says which colour came with which shape, unless the model has
# learned to look at one thing only. It never had to. The recipe `captioning` trains on pictures with two things, and
# learns it.
#
# ## Questions
#
# 1. Why is a larger batch better for the contrastive loss, even at the same number of epochs? What do 64 pairs ask
#    for that 8 do not?
# 2. Train with `model.contrast=siglip`. It asks of each pair whether it belongs together. What is its floor with
#    repeated texts?
# 3. Which of the 48 things are taken for which? Make a confusion matrix, and compare it with the blocks of the
#    cosines.
# 4. Train on all things, yellow triangles too, but leave out every picture of a *small* one. Is that harder or
#    easier?
# 5. Put `np.roll` of an image along its width into the captioner. Should the sentence change? Do the patches follow?
# 6. Train the image side with convolutions alone: `stem="conv"`, `n_layer=0` and `pool="concat"` in the settings of the
#    model. Leave out more and more pictures: which of the two needs fewer?
#
# ## Further reading
#
# - Radford et al., 2021, *Learning transferable visual models from natural language supervision*, arXiv:2103.00020.
# - van den Oord et al., 2018, *Representation learning with contrastive predictive coding*, arXiv:1807.03748; Zhai et
#   al., 2023, *Sigmoid loss for language image pre-training*, arXiv:2303.15343.
# - Dosovitskiy et al., 2020, *An image is worth 16x16 words*, arXiv:2010.11929.
# - Xu et al., 2015, *Show, attend and tell*, arXiv:1502.03044.
# - Yuksekgonul et al., 2023, *When and why vision-language models behave like bags-of-words*, arXiv:2210.01936.
# - [Tasks](../tasks.md#images-and-texts), [symmetric InfoNCE](../ops/info_nce.md), [retrieval and zero-shot
#   classification](../evaluation.md#two-sides).
# - The next notebook: [the GPU](15_the_gpu.md). Or [train a model of your own](../training.md).
