"""Compare every run of the first test set of a leaderboard with the best one.

usage: python scripts/examples/compare_runs.py LEADERBOARD
"""

import json
import subprocess
import sys

import pandas as pd

board = sys.argv[1]
rows = pd.read_csv(board)
rows = rows[rows["test_id"] == rows["test_id"].iloc[0]].sort_values("accuracy", ascending=False)
best, *rest = rows["run_id"]
for run in rest:
    command = ["compare", best, run, "--leaderboard", board, "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "freezeframe", *command], stdout=subprocess.PIPE, check=True
    )
    for pair in json.loads(done.stdout):
        if pair["metric"] == "accuracy":
            low, high = 100 * pair["low"], 100 * pair["high"]
            print(f"{100 * pair['difference']:+.1f} points ({low:+.1f} to {high:+.1f})", end=": ")
            print(pair["conclusion"])
