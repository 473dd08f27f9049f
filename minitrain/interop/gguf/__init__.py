"""Models in GGUF files, the format of llama.cpp: the header, the types of blocks, and the names of weights."""
