"""Tokenizers in exported folders and files, as ``transformers`` and the package ``gguf`` read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, PretrainedTokenizer, train_bpe_tokenizer
from minitrain.generation import apply_chat_template
from minitrain.interop import save_gguf, save_huggingface
from minitrain.interop.formats import published_tokenizer
from minitrain.models import build_model
from tests.helpers.interop.published import CONFIGS
from tests.helpers.texts.adversarial import TEXTS, TRAINING
from tests.helpers.texts.tokenizers_of_others import KINDS, SPECIAL, described

from .families import transformers

gguf = pytest.importorskip("gguf")
pytestmark = pytest.mark.peers
FAMILIES = ("gpt2", "llama", "mistral", "qwen3", "bert")
TEMPLATE = "{% for m in messages %}{{ bos_token }}{{ m.content }}{{ eos_token }}{% endfor %}"
OWN: dict[str, Any] = {
    "char": CharTokenizer.from_text(TRAINING),
    "byte": ByteTokenizer(),
    "bpe": train_bpe_tokenizer([TRAINING], vocab_size=420),
}


def of_others(kind: str) -> PretrainedTokenizer:
    names = list(PretrainedTokenizer(described(kind)).special_tokens)
    return PretrainedTokenizer(described(kind), begin=names[0], end=names[1:3], pad=names[1], chat_template=TEMPLATE)


def written(tokenizer: Any, folder: Path, family: str = "llama") -> Any:
    """What transformers makes of a folder with a model of that family, which has two rows more than tokens."""
    shape = {**CONFIGS[family].__dict__, "vocab_size": tokenizer.vocab_size + 2}
    save_huggingface(build_model(type(CONFIGS[family])(**shape)), folder, tokenizer=tokenizer)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Minitrain's tokenizer and the one of transformers."""
    tokenizers = OWN | {kind: of_others(kind) for kind in KINDS}
    pairs = {name: (one, written(one, tmp_path_factory.mktemp("folder") / "x")) for name, one in tokenizers.items()}
    qwen = PretrainedTokenizer(described("qwen2"), end=SPECIAL[2:])
    return pairs | {"qwen2 itself": (qwen, written(qwen, tmp_path_factory.mktemp("folder") / "x", "qwen2"))}


@pytest.mark.parametrize("name", [*OWN, *KINDS, "qwen2 itself"])
@given(data=st.data())
def test_transformers_reads_and_writes_the_same(name: str, pairs: dict[str, tuple[Any, Any]], data: Any) -> None:
    ours, theirs = pairs[name]
    alphabet = st.text(ours.characters) if name == "char" else TEXTS | st.text() | st.text("<bos>eu", max_size=12)
    text = data.draw(alphabet)
    ids = ours.encode(text).tolist()
    assert theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids == ids
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    if name in OWN:
        assert theirs(text).input_ids == theirs.encode(text) == ids
    else:
        assert theirs(text, add_special_tokens=False).input_ids == ours.encode(text, specials=True).tolist()
        assert theirs(text).input_ids == ours.encode(text, specials=True, frame=True).tolist()
    some = data.draw(st.lists(st.integers(0, ours.vocab_size - 1), max_size=8))
    if name != "sentencepiece-like":  # whose library shows half a character as several
        assert theirs.decode(some, skip_special_tokens=True) == ours.decode(some)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["char", "bpe", "llama-bpe", "bert"])
def test_every_family_keeps_them(name: str, family: str, tmp_path: Path) -> None:
    """transformers has classes of its own for a family, which would split texts otherwise."""
    ours = OWN[name] if name in OWN else of_others(name)
    theirs = written(ours, tmp_path, family)
    for text in (TRAINING[:12], TRAINING[-12:]):
        ids = ours.encode(text).tolist()
        assert theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids == ids
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    assert len(theirs) == ours.vocab_size
    assert theirs.model_max_length == CONFIGS[family].block_size
    if family != "bert":
        settings = transformers.GenerationConfig.from_pretrained(tmp_path)
        begin, ends = {"char": (None, None), "bpe": (1, 2)}.get(name, (0, [1, 2]))
        if name == "bert":
            ends = list(of_others("bert").end_ids)
        assert (settings.bos_token_id, settings.eos_token_id) == (begin, ends)
        config = transformers.AutoConfig.from_pretrained(tmp_path)
        assert (config.bos_token_id, config.eos_token_id) == (begin, ends)


def test_another_tokenizer_of_a_qwen2_is_not_found(tmp_path: Path) -> None:
    """transformers reads every tokenizer.json beside a Qwen2 by Qwen2's own rule: it would make other tokens."""
    with pytest.warns(UserWarning, match="for a qwen2, transformers splits texts by the rule of that model"):
        theirs = written(OWN["byte"], tmp_path, "qwen2")
    assert not (tmp_path / "tokenizer.json").exists()
    assert theirs.vocab_size <= 1, "an empty tokenizer"
    assert published_tokenizer(tmp_path).encode("hé").tolist() == OWN["byte"].encode("hé").tolist()


def test_chats_are_written_the_same(pairs: dict[str, tuple[Any, Any]]) -> None:
    ours, theirs = pairs["llama-bpe"]
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "wörld"}]
    expected = theirs.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert apply_chat_template(ours, messages).tolist() == list(expected)


@pytest.mark.parametrize("name", ["byte", "bpe", "smollm", "llama-bpe"])
def test_the_gguf_package_reads_the_vocabulary(name: str, tmp_path: Path) -> None:
    """With the types that llama.cpp asks for, and one token for each row of the embedding."""
    ours = OWN[name] if name in OWN else of_others(name)
    shape = {**CONFIGS["llama"].__dict__, "vocab_size": ours.vocab_size + 2}
    save_gguf(build_model(type(CONFIGS["llama"])(**shape)), tmp_path / "x.gguf", tokenizer=ours)
    fields = gguf.GGUFReader(tmp_path / "x.gguf").fields
    keys, types = gguf.Keys.Tokenizer, gguf.GGUFValueType
    assert fields[keys.MODEL].contents() == "gpt2"
    assert fields[keys.PRE].contents() == (name if name not in OWN else "gpt-2")
    kinds = {key: [*fields[key].types] for key in (keys.LIST, keys.TOKEN_TYPE, keys.ADD_BOS)}
    assert kinds == {
        keys.LIST: [types.ARRAY, types.STRING],
        keys.TOKEN_TYPE: [types.ARRAY, types.INT32],
        keys.ADD_BOS: [types.BOOL],
    }
    tokens, found = fields[keys.LIST].contents(), fields[keys.TOKEN_TYPE].contents()
    assert len(tokens) == len(found) == ours.vocab_size + 2
    assert len(set(tokens)) == len(tokens)
    assert found[-2:] == [gguf.TokenType.UNUSED] * 2
    specials = SPECIAL if name not in OWN else ["<pad>", "<bos>", "<eos>", "<unk>"] if name == "bpe" else []
    assert [tokens[n] for n, kind in enumerate(found) if kind == gguf.TokenType.CONTROL] == specials
    for key in (keys.BOS_ID, keys.EOS_ID, keys.PAD_ID):
        assert (key in fields) == (name != "byte")
        assert name == "byte" or [*fields[key].types] == [types.UINT32]
