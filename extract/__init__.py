"""The frozen backbone: its weights, and the way from an image file to a row of features."""
