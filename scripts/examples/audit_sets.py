"""Audit two folders against each other; count the images of pictures that both have.

usage: python scripts/examples/audit_sets.py FOLDER OTHER
"""

import subprocess
import sys

import pandas as pd

first, second = sys.argv[1:]
command = ["audit", first, "--against", second, "--output", "audit", "--strict"]
done = subprocess.run([sys.executable, "-m", "freezeframe", *command], stdout=subprocess.DEVNULL)
# With --strict, exit code 3 says that there is a leak, and 1 or 2 that nothing was looked at.
if done.returncode not in (0, 3):
    sys.exit(done.returncode)
images = pd.read_csv("audit/groups.csv")
# Images of one picture, in whatever size, file or brightness, have one number in both sets.
shared = images.groupby("picture")["set"].transform("nunique") > 1
print(images[shared].groupby(["set", "label"]).size().to_string())
print(f"{shared.sum()} of {len(images)} images show a picture that both sets have")
