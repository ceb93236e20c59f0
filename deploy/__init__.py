"""What the containers of docker-compose.yaml start and ask."""
