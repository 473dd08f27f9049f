"""Models in the formats of other programs, in both directions."""
