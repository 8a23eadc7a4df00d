"""Groups, rows, tags and paging on Milvus."""
