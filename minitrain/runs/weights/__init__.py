"""Where the first weights of a run come from, and which of them are trained."""
