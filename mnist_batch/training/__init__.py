"""Training: data, networks, recipes, and saving a model with its card."""
