"""Near-duplicates: pairs of images that show the same picture, and the groups that they form."""
