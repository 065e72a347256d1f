"""Records of fitted heads: leaderboard rows, model files, files of predictions."""
