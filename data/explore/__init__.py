"""What a collection of images is like: counts, sizes, shortcuts to the label, plots."""
