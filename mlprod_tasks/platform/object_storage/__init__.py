"""Object storage: the lake's files and files of sources in S3, Google Cloud Storage and Azure Blob Storage."""
