"""Figures, drawn with matplotlib or, where the pixels of pictures must be kept, with Pillow."""
