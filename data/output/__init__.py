"""Output: the terminal, HTML pages, reports, CSV lines, files, and options that commands share."""
