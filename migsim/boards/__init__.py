"""The devices of real machines as data: sections, layouts and power-on values, by command line."""
