"""WHAT NUMBERS SAY: medians and intervals, dependence, trends, rounds and ratios."""
