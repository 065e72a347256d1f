"""The exploration of images: counts, sizes, plots, and shortcuts that give a class away."""
