"""Models of transformers and of llama.cpp as oracles; each file is skipped where its packages are absent."""
