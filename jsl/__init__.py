"""jsl: Japanese to Japanese Sign Language gloss tags, a grouped seq2seq transformer on minigrad."""
