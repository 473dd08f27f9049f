"""Single layers: linear maps, embeddings, norms, feed-forward layers, convolutions, mixtures of experts."""
