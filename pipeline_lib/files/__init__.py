"""Files: the paths below LACONIC_HOME, whole-file writing, tables, and the blocks of documents that are made from the code."""
