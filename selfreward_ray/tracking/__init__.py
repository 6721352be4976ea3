"""Where the metrics of a run go while it works: JSON lines, TensorBoard, W&B, MLflow, or a tracker of your own."""
