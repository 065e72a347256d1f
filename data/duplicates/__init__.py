"""Pictures that show the same: pairs of near-duplicates, and the groups they form."""
