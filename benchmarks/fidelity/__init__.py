"""How far predictions are from measured migrations."""
