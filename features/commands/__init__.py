"""The command `freezeframe store`."""
