"""Many requests at once: what they are, the loop that serves them, and lists of prompts."""
