"""The vocabulary of migration as tables: modes, states, capabilities, parameters, releases.

This layer knows names, ranges, defaults and rules, and nothing of machines, streams or time.
"""
