"""What tests need in which one visitor asks much at once, and the same again: the product's own limits are far lower."""

ENVIRONMENT = {
    "STREAMER_MAX_REQUESTS": "1000000",
    "STREAMER_MAX_OPEN_PER_VISITOR": "100000",
    "STREAMER_MAX_OPEN_PER_TENANT": "100000",
    "STREAMER_MAX_IN_BROKER_PER_TENANT": "100000",
    "STREAMER_CACHE_SECONDS": "0",
}
