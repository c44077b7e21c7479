"""What people who run a node see, and what they do about it."""
