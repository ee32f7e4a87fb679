"""Classify pictures: engines that compute logits, the classifier, predictions and explanations."""
