#!/bin/sh
# Makes the four databases, each owned by a role of its own that can enter no other. PostgreSQL's image runs this once,
# when its volume is empty. Passwords are read from the environment, so that no process list shows them.
set -eu

for name in airflow mlflow ledger business; do
  DATABASE=$name psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<SQL
\\getenv name DATABASE
\\getenv password $(echo "$name" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
