"""What a head is fitted and scored on: rows of stores, and how they are related."""
