"""The model factory: specs and presets, descriptions, Keras models, weight files."""
