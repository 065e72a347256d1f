"""The tables of a run's folder: each is a CSV file that a fit leaves beside the model."""
