"""Routing of a mixture of experts; each file is one operation."""
