"""TIFF: layouts of samples, pages, and the reader."""
