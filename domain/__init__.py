"""The rules, pure: no input or output, no clock, no logging, no JSON. Imports nothing of ours."""
