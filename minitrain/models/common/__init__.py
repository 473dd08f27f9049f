"""Shared parts of models: checks of configurations, frames of decoders and classifiers, embeddings, the loss."""
