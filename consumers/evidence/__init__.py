"""The proof about one placement: what is in it, how it is put together, and how anybody checks it."""
