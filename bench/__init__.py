"""How fast the guard is, as ratios against the raw parts in the same run: `python -m bench`."""
