"""The web server: pages and a JSON API that classify images in memory, with a fitted head."""
