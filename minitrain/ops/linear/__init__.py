"""Linear maps, tables, scaling and dropout; each file is one operation."""
