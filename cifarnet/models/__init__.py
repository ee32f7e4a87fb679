"""Networks: names, descriptions as plain data, initial weights and Keras models."""
