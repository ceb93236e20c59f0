"""Put a model into production and take it out: register, approve, promote, roll back, reproduce."""
