"""Runs where people track theirs: Weights & Biases, MLflow, TensorBoard."""
