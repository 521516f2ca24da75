"""The id of no entity: what is said of a mention that none in the knowledge base is meant by, as spaCy's linkers do."""

NIL = "NIL"
