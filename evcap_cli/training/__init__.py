"""Training the captioner: recipes, features in memory, resumable epochs, the choice of the epoch, the model card."""
