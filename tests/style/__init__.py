"""Measures of how the repository reads: the words of its comments and the width of its lines."""
