"""Records as the samples that models read: texts as token ids, labels as class numbers, images as arrays."""
