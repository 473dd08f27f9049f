"""The settings that tasks declare: of data, of models, of losses and metrics, of generation."""
