"""The doctor: facts about this machine, what is broken, and the command that mends it."""
