"""The process: gRPC, health, admin HTTP, reload, drain, workers."""
