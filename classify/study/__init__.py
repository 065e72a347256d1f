"""A study: the folder that `freezeframe run` fills, its steps and its report."""
