"""Commands of the command line that are not stages of a pipeline; flows/cli.py puts them together."""
