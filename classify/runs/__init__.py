"""What is kept of a fitted head: leaderboard row, model file, predictions."""
