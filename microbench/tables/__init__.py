"""HOW IT IS SHOWN: tables and progress in a terminal, CSV and JSON. Prints rows; computes nothing."""
