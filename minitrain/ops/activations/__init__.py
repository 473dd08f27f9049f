"""Element-wise functions and softmax; each file is one operation."""
