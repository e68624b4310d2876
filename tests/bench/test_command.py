"""`app bench`: what it prints, its exit codes, and what it refuses."""

FIRST, GAP, TEXTS = 0.05, 0.03, 3
VOID, REFUSED, FAILED = 4, 2, 1
