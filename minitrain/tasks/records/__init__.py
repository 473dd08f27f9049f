"""Data in records: opening what settings name, holding some out, and knowing it again."""
