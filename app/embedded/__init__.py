"""The processes that the service starts for itself: Triton and Milvus Lite."""
