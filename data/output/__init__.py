"""How results are shown and written: terminal, HTML, CSV, files."""
