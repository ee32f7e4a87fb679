"""Training runs in directories: configuration, files, comparison."""
