"""Grading of mathematics: the answer in a text, its normal form and shape, numbers and units, and algebra in killable processes."""
