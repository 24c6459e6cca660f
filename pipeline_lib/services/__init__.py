"""Servers and workers as child processes of one that watches over them."""
