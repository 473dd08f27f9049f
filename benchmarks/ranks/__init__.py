"""Several ranks on one machine: what they cost, what overlap hides, and how fast gradients are added."""
