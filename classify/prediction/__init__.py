"""Predictions of new images: what goes in, the predictor, and what comes out."""
