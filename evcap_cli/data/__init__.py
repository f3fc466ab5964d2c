"""What training reads and scoring compares with: captions, words, lexicon, word vectors, batches."""
