"""Answers for pictures: engines that compute logits, the classifier over them, predictions and explanations."""
