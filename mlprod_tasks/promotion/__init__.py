"""Put models into production and take them out: register, approve, promote, roll back, reproduce."""
