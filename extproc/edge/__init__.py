"""The only asynchronous code: gRPC, Redis, the classifier's queue, the disk and the clock."""
