"""Policy file to Plan: the cold path."""
