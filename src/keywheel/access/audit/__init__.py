"""The audit ledger: what was done, by whom, so that nobody can change it afterwards unseen."""
