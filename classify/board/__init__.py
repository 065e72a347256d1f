"""Reading leaderboards: ranks, comparisons, tables."""
