"""When a training saves, and what goes into its checkpoints."""
