"""The console: the pages that on-call, support and compliance look at, served by `api` below `/console`.

Pages are written here, on the server, and work without a script; the small one in `static` only renews what is on
a page, and copies text. What is told is decided where it is decided for the command line and the API; nothing of
that is decided again here.
"""
