"""WHAT CAN BE SAID: comparisons, rankings, searches, profiles, limits, from records alone."""
