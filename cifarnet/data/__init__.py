"""Data sources, downloads and augmentation."""
