"""Low-rank adapters for layers of a trained model."""
