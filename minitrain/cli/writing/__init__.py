"""Commands that let a trained model write."""
