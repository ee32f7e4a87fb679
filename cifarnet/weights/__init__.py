"""Trained weights by name: those that come with cifarnet (the files of this folder), and the user's own."""
