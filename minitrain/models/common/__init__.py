"""What several models share: their configurations' checks, frames of decoders and classifiers, embeddings, the loss."""
