"""The migration engines: sending, receiving, and the arithmetic between them."""
