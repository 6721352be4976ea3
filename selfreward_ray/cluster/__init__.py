"""The Ray cluster: joining one, what it can hold, rehearsing on one."""
