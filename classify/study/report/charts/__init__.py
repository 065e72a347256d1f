"""Charts of a report: drawings as SVG that follow the colours of the page."""
