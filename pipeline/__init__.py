"""The front door: loading text, tokenizing, annotating corpora, formats, command line."""
