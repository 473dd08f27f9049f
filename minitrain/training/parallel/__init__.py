"""Training on several ranks: which micro-batches a rank takes, and what all ranks decide as one."""
