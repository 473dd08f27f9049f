"""The settings that ``minitrain train`` starts from, as Hydra config groups, a YAML file an option.

The dataclasses of ``minitrain.runs.config`` say what settings there are and check them; these files only
give values. A recipe (``recipe/*.yaml``) sets values across all groups.
"""
