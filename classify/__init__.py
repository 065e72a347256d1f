"""Heads on finished feature stores: fitting, scoring, the leaderboard, prediction."""
