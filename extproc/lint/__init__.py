"""What can be said of a policy file that can be used: what it asks for and does not get."""
