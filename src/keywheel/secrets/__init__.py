"""The ledger: secrets, their versions, and the labels that move between them."""
