"""Chat templates against `transformers`: the same text, or an error from both."""

from __future__ import annotations

from typing import Any

import pytest

transformers = pytest.importorskip("transformers")

from minitrain.data import PretrainedTokenizer  # noqa: E402
from minitrain.errors import DataError  # noqa: E402
from minitrain.generation import apply_chat_template  # noqa: E402
from minitrain.generation.text.chat import ChatTemplate  # noqa: E402
from tests.helpers.texts.chats import CHATS, TEMPLATES, TOOLS  # noqa: E402
from tests.helpers.texts.tokenizers_of_others import SPECIAL, described, library_tokenizer  # noqa: E402

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def peer() -> Any:
    roles = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2]}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=library_tokenizer("smollm"), **roles)


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_and_tokens(peer: Any, name: str, chat: str, tools: Any, prompt: bool) -> None:
    source, settings = TEMPLATES[name], {"add_generation_prompt": prompt, "tools": tools, "enable_thinking": False}
    tokenizer = PretrainedTokenizer(described("smollm"), begin=SPECIAL[1], end=[SPECIAL[2]], chat_template=source)
    try:
        expected = peer.apply_chat_template(CHATS[chat], chat_template=source, tokenize=False, **settings)
    except Exception:  # jinja2's, or Python's
        with pytest.raises(DataError):
            ChatTemplate.of(tokenizer).render(CHATS[chat], **settings)
        return
    assert ChatTemplate.of(tokenizer).render(CHATS[chat], **settings) == expected
    ids = peer(expected, add_special_tokens=False)["input_ids"]
    assert apply_chat_template(tokenizer, CHATS[chat], **settings).tolist() == ids
