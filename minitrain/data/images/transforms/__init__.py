"""Transforms of batches of images. What is random is a function of a key and the number of the sample."""
