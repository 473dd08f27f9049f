"""Texts that tokenizers get wrong: other scripts, marks, white space of all kinds, contractions, spelled tokens."""

from __future__ import annotations

import random
import unicodedata

from hypothesis import strategies as st

_PIECES = [
    *"aZ'\"\n\r\t .,!?-_<>|/\\{}[]()0123456789",
    *"äßéñçøşıİſΩжЖщאבגدسहिन্্வணக்கம்ไทย漢字かなカナ한국어",
    *"０１２３٣٤४५৪৫²³¼½ⅧⅨ①②㉓𝟘𝟙",
    *"\u00a0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u0085\x0b\x0c\x1c\x1f",  # white space
    *"\u200b\u200c\u200d\u2060\ufeff\u00ad\x00\x01\x7f\x9f",  # seen by nobody
    *"\u0301\u0308\u0327\u0345\u0653\u093c\u3099\u20dd",  # marks that join the character before
    *"😀🇩🇪👍🏽",
    *"\ufffd\ufffe\uffff\U0001fffe\U0010ffff\ue000",
    "é", "e\u0301", "ﬁ", "Å", "Å", "각", "각", "👩‍👩‍👧", "🏳️‍🌈",
    "'s", "'S", "'ſ", "'t", "'re", "'RE", "'ve", "'ll", "'LL", "'d", "'m", "’s", "''", "'s's",
    "the", "The", " the", "THE", "hello", "world", "tokenizer", "1234567", "3.14", "a1b2", "x_y",
    "  ", "   ", "\n\n", "\r\n", " \n ", "\t\t", "\n \n", "▁", "▁▁", "Ġ", "Ċ", "<0x0A>", "##",
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "[CLS]", "[SEP]", "[UNK]", "<|im_", "end|>",
]  # fmt: skip


def adversarial_text(numbers: random.Random, longest: int = 24) -> str:
    """A text of up to ``longest`` parts: mostly from the list above, some any character, some repeated."""
    parts = []
    for _ in range(numbers.randint(0, longest)):
        kind = numbers.random()
        if kind < 0.85:
            part = numbers.choice(_PIECES)
        elif kind < 0.95:
            part = chr(numbers.randrange(0x110000))
            part = "" if unicodedata.category(part) == "Cs" else part
        else:
            part = numbers.choice(_PIECES) * numbers.randint(2, 40)
        parts.append(part)
    return "".join(parts)


TEXTS = st.lists(st.sampled_from(_PIECES) | st.text(max_size=4), max_size=20).map("".join)
"""The same for Hypothesis."""

TRAINING = " ".join(
    [
        "The quick brown fox doesn't jump over the lazy dog's 12345 hello world, it's the tokenizer's 2024 test.\n",
        "Übermäßig schöne Äpfel, naïve café; жёлтый щенок; 漢字かな交じり文; नमस्ते दुनिया; שלום עולם; مرحبا 🇩🇪 😀👍🏽\n",
        "def f(x):\n    return [x_y for _ in range(10)]  # 3.14\r\n\t\tif a1b: pass\n\n\nHELLO  WORLD   'S 'RE we'll\n",
    ]
    * 3
)
"""What small vocabularies are trained on."""
