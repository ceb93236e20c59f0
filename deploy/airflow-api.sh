#!/bin/sh
# Starts Airflow's API server with the log-ins from the environment. SimpleAuthManager wants them in a file that it can
# write to, which a mounted secret is not.
set -eu
umask 077

python - > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE" <<'PYTHON'
import json, os

print(json.dumps({name: os.environ[f"AIRFLOW_{name.upper()}_PASSWORD"] for name in ("admin", "viewer")}))
PYTHON
unset AIRFLOW_ADMIN_PASSWORD AIRFLOW_VIEWER_PASSWORD

exec airflow api-server
