"""What is said to people and shown of others' texts: a line for a fault, nothing that a terminal or a page would interpret, no password."""
