"""The Ray cluster: joining it, its capacity, waiting for resources, and rehearsals."""
