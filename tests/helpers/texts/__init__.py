"""Texts, tokenizers and chats for tests of what stands between tokens and text."""
