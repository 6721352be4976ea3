"""What is wrong with a run or a step, found within seconds, before anything is started or written. Starts no Ray."""
