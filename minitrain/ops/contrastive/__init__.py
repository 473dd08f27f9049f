"""Contrastive losses; each file is one operation."""
