"""Views of leaderboards and runs: ranks, comparisons, tables, records."""
