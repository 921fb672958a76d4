"""Passages with questions and answers: files, places of answers, splits, tokens, scores."""
