"""A training step on more cores than there are here: a model, fitted on one thread and checked on two."""
