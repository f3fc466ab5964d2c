"""The metrics of the field, as published: emotion accuracies, n-gram metrics, the combined scores."""
