"""Classification losses; each file is one operation."""
