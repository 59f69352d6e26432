"""Access logs run through the engine again: what a policy would have done with requests that are over."""
