"""Tasks: training and test rows of stores, and how they are related."""
