"""What runs on the untrusted side of code grading: a clean process that forks one confined process per program.

It is started as a plain interpreter without this project's packages, so it imports the standard library only, and its modules
import one another relatively.
"""
