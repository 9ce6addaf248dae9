"""Bytes to events and back: CloudEvents 1.0 with the contract's payloads."""
