"""Small language models, and decoding methods written out plainly."""
