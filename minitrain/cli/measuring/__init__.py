"""Commands that measure a trained model."""
