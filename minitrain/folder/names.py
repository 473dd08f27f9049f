"""The names in a run folder."""

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
PLOTS = "plots"
TOKENIZER = "tokenizer.json"
