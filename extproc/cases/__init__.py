"""Unit tests of a policy: requests in, and what has to become of them."""
