"""The Keras backend of the process: which one, on which device, with which settings."""
