"""The report of a study: one self-contained page, made from the CSV files of its folder alone."""
