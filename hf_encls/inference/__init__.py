"""What goes past the stock pipeline: timelines, compressed input, embeddings, ONNX."""
