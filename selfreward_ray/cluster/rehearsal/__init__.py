"""A recipe's whole loop on this machine, on a cluster whose nodes are only declared; open `rehearse.py` first."""
