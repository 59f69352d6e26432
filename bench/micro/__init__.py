"""What the pieces of one request cost, each by itself in a process that does nothing else."""
